"""Who asks while a doctor orders, and what answers him, as one thing: every dependency of a route takes its time."""

from dataclasses import dataclass

from catalog.context import Caller, Catalogue
from catalog.harvest import Harvest
from catalog.swift import Swift
from exchange.deadline import Deadline


@dataclass(frozen=True, slots=True)
class AtOrder:
    """Who calls, the catalogue as the database shows it to him, and what all callers share.

    That is the time allowed, the connections of the event loop, and the count of whom each caller asks about.
    """

    caller: Caller
    catalogue: Catalogue
    deadline: Deadline
    swift: Swift
    harvest: Harvest
