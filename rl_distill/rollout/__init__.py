"""Where attempts come from: engines that sample, and the collector that scores what they sampled."""
