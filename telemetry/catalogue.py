"""Every metric of the cell. docs/operations.md says the same, and dashboards and alerts use no other."""

from telemetry.metrics import Kind, Metric

COUNTER, LEVEL, GAUGE, HISTOGRAM = Kind

_GROUP = "messaging.consumer.group.name"
_PARTITION = "messaging.destination.partition.id"

# Of messaging servers.
STREAMS = Metric("cell.streams", LEVEL, "{stream}", "Client streams held.")
USERS = Metric("cell.users", LEVEL, "{user}", "Users with a stream.")
STREAMS_OPENED = Metric("cell.streams.opened", COUNTER, "{stream}", "Client streams opened.")
STREAMS_REFUSED = Metric(
    "cell.streams.refused",
    COUNTER,
    "{stream}",
    "Client streams that were not opened, by the reason.",
    ("cell.reason",),
)
STREAMS_ENDED = Metric(
    "cell.streams.ended", COUNTER, "{stream}", "Client streams that ended, by the reason.", ("cell.reason",)
)
OVERFLOWS = Metric(
    "cell.streams.overflows", COUNTER, "{overflow}", "Times a stream's buffer of events was full (R12)."
)
COMMANDS = Metric(
    "cell.commands",
    COUNTER,
    "{command}",
    "Commands that got their outcome, by what it was and why.",
    ("cell.kind", "cell.outcome", "cell.reason"),
)
ACCEPTS = Metric(
    "cell.accept.duration",
    HISTOGRAM,
    "s",
    "From the receipt of a command that appends until it was accepted, so durable.",
    ("cell.kind",),
)
IN_FLIGHT = Metric(
    "cell.commands.in_flight", LEVEL, "{command}", "Commands handed to the log and not settled."
)
HELD = Metric(
    "cell.commands.held.size", LEVEL, "By", "Commands that wait until their conversation is registered."
)
ATTACHES = Metric(
    "cell.attaches",
    COUNTER,
    "{attach}",
    "Streams attached to a partition's owner: attached and partial from its window, behind from history.",
    ("cell.outcome",),
)
RESUMES = Metric(
    "cell.resumes",
    COUNTER,
    "{stream}",
    "Streams that were told all they had missed, by how they started.",
    ("cell.outcome",),
)
PAGES = Metric(
    "cell.catch_up.page.duration", HISTOGRAM, "s", "Reads of history for streams that are behind the window."
)
DELIVERIES = Metric(
    "cell.delivery.duration",
    HISTOGRAM,
    "s",
    "From sent_at of a direct message until it was put into a live stream of its recipient.",
)
UNOWNED = Metric(
    "cell.partitions.unowned",
    GAUGE,
    "{partition}",
    "Partitions of which no delivery service tells events here.",
)
CALLS = Metric(
    "rpc.server.call.duration",
    HISTOGRAM,
    "s",
    "Unary calls.",
    ("rpc.method", "rpc.response.status_code"),
)

# Of whoever reads the log.
OWNED = Metric("cell.partitions.owned", LEVEL, "{partition}", "Partitions owned in the group.", (_GROUP,))
LAG = Metric(
    "cell.consumer.lag",
    LEVEL,
    "{record}",
    "Records of an owned partition that are in the log and were not read yet.",
    (_GROUP, _PARTITION),
)

# Of delivery services.
ROUTING = Metric(
    "cell.routing.duration",
    HISTOGRAM,
    "s",
    "From an event's own time until the owner of a partition told it to the servers of its users.",
)
DROPPED = Metric(
    "cell.records.dropped",
    COUNTER,
    "{record}",
    "Records that stand for nothing, or that nobody can read, by why (R1, R3, R5).",
    ("cell.verdict",),
)
WINDOW = Metric("cell.window.size", LEVEL, "By", "Recent events kept for those who return.")
FORWARDING = Metric("cell.forwarding.queue.size", LEVEL, "By", "Copies that are not durable yet.")
FORWARDING_RETRIES = Metric(
    "cell.forwarding.retries", COUNTER, "{retry}", "Times copies were sent again after an append failed (R1)."
)
PAUSED = Metric(
    "cell.partitions.paused", LEVEL, "{partition}", "Partitions not read until their copies are durable (R6)."
)
LOG_AHEAD = Metric(
    "cell.log.ahead",
    GAUGE,
    "s",
    "By how much the log's time is above this machine's clock, where it is most; 0 if it is nowhere.",
)
LINKS = Metric("cell.links", LEVEL, "{link}", "Links to messaging servers that are up.")
LINK_QUEUES = Metric("cell.links.queue.size", LEVEL, "By", "What servers have not taken yet.")

# Of history.
STORES = Metric("cell.history.store.duration", HISTOGRAM, "s", "Writes of a batch to the store.")
STORED = Metric("cell.history.stored", COUNTER, "{record}", "Records of which history has what there is.")
STORE_FAILURES = Metric(
    "cell.history.store.failures", COUNTER, "{attempt}", "Writes that failed and are tried again."
)
HISTORY_AGE = Metric(
    "cell.history.age",
    GAUGE,
    "s",
    "Age of the oldest record of owned partitions that is known to be in the log and not stored; 0 if all are.",
)
DEAD_LETTERS = Metric("cell.dead_letters", COUNTER, "{record}", "Records that nobody can read (R5).")
GAPS = Metric(
    "cell.gaps", COUNTER, "{gap}", "Gaps told to those who ask history for events it has no more (R11)."
)

# Of the log.
APPENDS = Metric(
    "cell.log.append.duration",
    HISTOGRAM,
    "s",
    "Transactions, or requests to a broker, that made records durable.",
)
BATCHES = Metric("cell.log.append.records", HISTOGRAM, "{record}", "Records of one of these.")
APPENDED = Metric("cell.log.append.size", COUNTER, "By", "Records made durable.")
NOT_APPENDED = Metric(
    "cell.log.append.failures",
    COUNTER,
    "{record}",
    "Records of which that is not so, or not known.",
    ("cell.fate",),
)
PENDING = Metric("cell.log.pending.size", LEVEL, "By", "Appends under way.")

# Of every process.
CPU = Metric("process.cpu.time", COUNTER, "s", "CPU time used.", ("cpu.mode",))
MEMORY = Metric("process.memory.usage", LEVEL, "By", "Memory that is resident.")
FILES = Metric("process.unix.file_descriptor.count", LEVEL, "{file_descriptor}", "Open files and sockets.")
UPTIME = Metric("process.uptime", GAUGE, "s", "Since the start of the process.")
LOOP_LAG = Metric(
    "cell.event_loop.lag", HISTOGRAM, "s", "By how much the event loop woke later than it was asked to."
)
TRACES_REFUSED = Metric(
    "cell.traces.refused", COUNTER, "{trace}", "Traces not begun because there were too many a second."
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in this order."""
