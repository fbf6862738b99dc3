"""`python -m engines`: start the servers, tell where they are, and stop them at Ctrl-C."""

import argparse
import signal
import sys

from engines.artifacts import EnginesMissing
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from engines.server import ServerFailed


def main() -> None:
    """Run until Ctrl-C or SIGTERM. The exit code is 1 where the machine lacks something or a server does not start."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run = RunFolder.create()
    try:
        _start(run, arguments)
        print(f"logs      {run.path}/*.log\nCtrl-C stops them and deletes their data.", flush=True)
        signal.pause()
    except (EnginesMissing, ServerFailed) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print()
    finally:
        run.close()


def _start(run: RunFolder, arguments: argparse.Namespace) -> None:
    if arguments.kafka:
        kafka = KafkaCluster(run, arguments.kafka)
        kafka.start()
        print(f"Kafka     {','.join(kafka.addresses())}", flush=True)
    if arguments.cassandra:
        cassandra = CassandraNode(run)
        cassandra.start()
        print(f"Cassandra {cassandra.address}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engines", description=__doc__)
    parser.add_argument("--kafka", type=int, choices=(0, 1, 3), default=1, help="brokers (default: 1)")
    parser.add_argument("--cassandra", action=argparse.BooleanOptionalAction, default=True, help="one node")
    return parser.parse_args()


if __name__ == "__main__":
    main()
