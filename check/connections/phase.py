"""A time in which clients send: how many messages, how fast and to whom."""

from dataclasses import dataclass

from check.connections.recipients import RANDOM, SELF, Shape


@dataclass(frozen=True, slots=True)
class Phase:
    """What each client does. Messages are numbered on from one phase to the next."""

    recipients: str
    """The name of a shape."""
    first: int
    """Number of a client's first message."""
    messages: int
    """Of each client."""
    rate: float
    """Messages a second of each client."""

    @property
    def numbers(self) -> int:
        """The messages, as bits."""
        return (1 << self.first + self.messages) - (1 << self.first)

    @property
    def seconds(self) -> float:
        """For which they are sent."""
        return self.messages / self.rate

    @property
    def is_to_itself(self) -> bool:
        """Whether a sender is its own recipient."""
        return self.recipients == SELF

    def shape(self, clients: int, seed: int) -> Shape:
        """Who writes to whom, of so many clients."""
        return Shape(self.recipients, clients, seed)

    def deliveries(self, clients: int, seed: int) -> int:
        """What comes to recipients and to senders' own streams, if all are live."""
        shape = self.shape(clients, seed)
        if self.recipients != RANDOM:
            return self.messages * shape.deliveries_each()
        numbers = range(self.first, self.first + self.messages)
        return sum(len(shape.of(client, number)) + 1 for client in range(clients) for number in numbers)
