"""What a cell that came to no result has left in its folder: the alarms that rang in it, and what it took up to there."""

from pathlib import Path

from rl_distill.analysis.costs import run_costs
from rl_distill.analysis.run_records import alarms_rung
from rl_distill.errors import InputError
from rl_distill.recipe import BASE
from rl_distill.sweeps.accounts import Account
from rl_distill.sweeps.cell_costs import Costs, costs_of
from rl_distill.sweeps.plan import PlannedCell
from rl_distill.tracking import METRICS_FILE, read_metrics

DAMAGED = (InputError, OSError, ValueError, KeyError, TypeError)


def alarms_left(folder: Path, account: Account) -> tuple[str, ...]:
    """All that rang, the one that stopped the cell first: its account names it, its metrics the others."""
    stopping = (account.reason.split()[1],) if account.state == "stopped" else ()
    try:
        rung = alarms_rung(read_metrics(folder / METRICS_FILE)) if (folder / METRICS_FILE).is_file() else ()
    except DAMAGED:
        rung = ()
    return tuple(dict.fromkeys((*stopping, *rung)))


def costs_left(planned: PlannedCell) -> Costs | None:
    """Of its way from base, up to the last step that was saved; None where the folder does not tell."""
    way = [name for name in planned.cell.recipe.lineage(planned.cell.outcome) if name != BASE]
    try:
        routes = {route.name: route for route in run_costs(planned.folder, begun=True).routes}
    except DAMAGED:
        return None
    return next((costs_of(routes[name].cost) for name in reversed(way) if name in routes), None)
