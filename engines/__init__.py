"""Real Kafka and Cassandra servers on this machine, for tests and development, made of Maven artifacts."""
