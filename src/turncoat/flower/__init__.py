"""Flower under attack: robust strategies for its ServerApp, attacks for its ClientApp."""

from turncoat.errors import SpecError

try:
    from turncoat.flower.attacking import Omniscient, attacking, poison
    from turncoat.flower.guarded import Guarded
    from turncoat.flower.strategy import RobustFedAvg
except ImportError as error:
    raise SpecError("turncoat.flower needs Flower, 1.41 or later: pip install 'turncoat[flower]'") from error

__all__ = ["Guarded", "Omniscient", "RobustFedAvg", "attacking", "poison"]
