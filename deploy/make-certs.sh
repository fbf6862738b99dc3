#!/bin/sh
# make-certs.sh HOST...: certificates for compose.yaml, good for these hosts, made once.
# Two authorities, so that a key of Kafka or Cassandra opens no door inside the cell:
#   /certs          for the processes of the cell and, with ca.pem, their clients; readable by the user of the image alone
#   /engine-certs   for Kafka and Cassandra, in one file each; readable by whoever has the volume, which they alone do
# The authorities' keys are not kept: to add a host delete both volumes, and start again.
set -eu
[ ! -e /certs/made ] || exit 0
rm -rf /certs/* /engine-certs/*
hosts=""
for host in "$@"; do hosts="$hosts --host $host"; done

# shellcheck disable=SC2086
cell certs /certs $hosts
# shellcheck disable=SC2086
cell certs /engine-certs/made $hosts
cd /engine-certs
cat made/internal.key made/internal.pem > keystore.pem
cp made/ca.pem ca.pem
rm -r made
chmod 0444 keystore.pem ca.pem
chmod 0755 .

cp ca.pem /certs/engines-ca.pem
rm /certs/ca.key
touch /certs/made
chown -R 10001:10001 /certs
