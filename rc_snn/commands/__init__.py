"""What every command shares: how it starts, fails and stops, what it imports, which there are."""

from typing import TYPE_CHECKING

from rc_snn.commands.lazy import lazily

if TYPE_CHECKING:
    from rc_snn.commands.ends import end as end
    from rc_snn.commands.ends import one_line as one_line
    from rc_snn.commands.ends import run as run
    from rc_snn.commands.factories import made_by as made_by
    from rc_snn.commands.lists import found as found
    from rc_snn.commands.lists import lines as lines
    from rc_snn.commands.lists import listing as listing
    from rc_snn.commands.lists import refuse as refuse
    from rc_snn.commands.options import REFUSED as REFUSED
    from rc_snn.commands.options import Called as Called
    from rc_snn.commands.stops import STOPS as STOPS
    from rc_snn.commands.stops import Stopped as Stopped
    from rc_snn.commands.stops import catch_early_stops as catch_early_stops
    from rc_snn.commands.stops import catch_stops as catch_stops

_HOME = {
    "Called": "options",
    "REFUSED": "options",
    "STOPS": "stops",
    "Stopped": "stops",
    "catch_early_stops": "stops",
    "catch_stops": "stops",
    "end": "ends",
    "found": "lists",
    "lines": "lists",
    "listing": "lists",
    "made_by": "factories",
    "one_line": "ends",
    "refuse": "lists",
    "run": "ends",
}
__all__ = sorted(_HOME)
# Every `import rc_snn` comes by here, for `lazy`; only commands need the rest.
__getattr__, __dir__ = lazily(__name__, _HOME)
