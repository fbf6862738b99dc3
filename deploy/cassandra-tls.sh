#!/bin/bash
# Starts Cassandra as its image does, with TLS and nothing else for clients. The image has no variable for that.
set -eu
yaml=/etc/cassandra/cassandra.yaml
kept=$(awk '/^[^ #]/ { skip = /^client_encryption_options:/ } !skip' "$yaml")
cat > "$yaml" <<END
$kept
client_encryption_options:
  enabled: true
  optional: false
  keystore: /certs/keystore.pem
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
END
exec docker-entrypoint.sh cassandra -f
