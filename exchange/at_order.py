"""What is needed to answer while a doctor orders, as one thing: every dependency of a route takes its time."""

from dataclasses import dataclass

from catalog.swift import Swift
from exchange.deadline import Deadline
from exchange.harvest import Harvest


@dataclass(frozen=True, slots=True)
class AtOrder:
    """The time allowed, the connections of the event loop, and the count of whom each caller asks about."""

    deadline: Deadline
    swift: Swift
    harvest: Harvest
