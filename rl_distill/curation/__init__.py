"""From raw problems and verified attempts to what is trained on: pure functions of records that say what they drop."""
