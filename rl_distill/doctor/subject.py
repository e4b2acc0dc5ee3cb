"""What is looked at: this machine alone, or with it a recipe and the cluster it is to run on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rl_distill.cluster.machine import Machine, this_machine
from rl_distill.cluster.memory import ModelSize
from rl_distill.cluster.settings import RayCluster
from rl_distill.recipe import Recipe

if TYPE_CHECKING:
    from rl_distill.cluster.session import Session


@dataclass
class Subject:
    """Made once for all checks, which share what is dear: the student's tokenizer and skeleton, a connection to Ray.

    Args:
        recipe: None looks at the machine alone.
    """

    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        self._session: Session | None = None

    @property
    def settings(self) -> RayCluster:
        """The recipe's cluster, or for lack of one a small one on this machine."""
        if self.recipe is not None and isinstance(self.recipe.cluster, RayCluster):
            return self.recipe.cluster
        return RayCluster(object_store_mib=100)

    @property
    def runs_on_ray(self) -> bool:
        return self.recipe is not None and isinstance(self.recipe.cluster, RayCluster)

    @property
    def asked(self) -> Recipe:
        """The recipe, for checks that are made with one only."""
        assert self.recipe is not None, "checks of a recipe have one"
        return self.recipe

    def connect(self) -> None:
        """
        Raises:
            InputError: the cluster does not answer or cannot be started.
        """
        from rl_distill.cluster.session import Session

        self._session = Session(self.settings)

    @cached_property
    def machines(self) -> Sequence[Machine]:
        """The hosts of the cluster, or this one alone while none is connected."""
        if self._session is None:
            return [this_machine()]
        from rl_distill.cluster.roll_call import cluster_machines

        return cluster_machines(self.settings)

    @cached_property
    def skeleton(self) -> Any:
        """The recipe's student on the meta device."""
        from rl_distill.training.preflight import student_skeleton
        from rl_distill.training.student import prompter

        return student_skeleton(self.asked.student, prompter(self.asked.student).tokenizer)

    @cached_property
    def size(self) -> ModelSize:
        from rl_distill.training.preflight import model_size

        return model_size(self.asked, self.skeleton)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
