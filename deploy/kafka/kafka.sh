#!/usr/bin/env bash
# One Apache Kafka broker on this machine, for tests and trials: no container, loopback only.
#
#   kafka.sh fetch                           fetch the pinned jars, unless they exist
#   kafka.sh start DIR PORT [CONTROLLER]     run the broker in the foreground, its data in DIR
#
# `start` replaces the shell with the broker, so the process id is that of the broker. A new DIR is formatted;
# an existing one is used as it is, so a broker that was killed starts again with its data.
# CONTROLLER is the port of the controller; by default, a free port.
#
# DIR/extra.properties, if it exists, is added to the settings and has priority over them. Its line
#   encore.listeners=SASL_PLAINTEXT://127.0.0.1:9095,SSL://127.0.0.1:9096
# adds listeners to the plain one. ENCORE_KAFKA_HEAP (512m) is the broker's memory.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$here/jars

die() {
    echo "kafka.sh: $*" >&2
    exit 1
}

need_java() {
    command -v java >/dev/null || die "java is not installed (17 or newer is needed)"
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ] || die "java 17 or newer is needed, this is ${version:-unknown}"
}

# The jars are stored with their pom; with another pom they are fetched again.
fetch() {
    need_java
    if cmp -s "$here/pom.xml" "$jars/pom.xml"; then return; fi
    command -v mvn >/dev/null || die "mvn is not installed and $jars is not filled"
    mkdir -p "$here/target"
    local fresh
    fresh=$(mktemp -d "$here/target/fetch.XXXXXX")
    mvn -q -B -ntp -f "$here/pom.xml" -Djars="$fresh" dependency:copy-dependencies >"$fresh.log" 2>&1 ||
        die "mvn could not fetch the broker: $(grep -m 1 ERROR "$fresh.log" || tail -n 1 "$fresh.log")"
    cp "$here/pom.xml" "$fresh/"
    chmod 755 "$fresh"
    rm -rf "$jars"
    mv "$fresh" "$jars"
    rm -f "$fresh.log"
}

# Below the range of ephemeral ports, so that no client socket takes it.
free_port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

settings() {
    local dir=$1 port=$2 controller=$3 more=
    if [ -f "$dir/extra.properties" ]; then
        more=$(sed -n 's/^encore\.listeners=/,/p' "$dir/extra.properties")
    fi
    cat <<SETTINGS
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=CONTROLLER://127.0.0.1:$controller,PLAINTEXT://127.0.0.1:$port$more
advertised.listeners=PLAINTEXT://127.0.0.1:$port$more
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.min.cleanable.ratio=0.01
log.index.size.max.bytes=1048576
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
SETTINGS
    if [ -f "$dir/extra.properties" ]; then
        sed '/^encore\.listeners=/d' "$dir/extra.properties"
    fi
}

# A cluster id is 16 bytes in 22 letters; one that starts with a dash would read as an option.
cluster_id() {
    echo "E$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"
}

start() {
    local dir port=$2 controller=${3:-}
    fetch
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    settings "$dir" "$port" "${controller:-$(free_port)}" >"$dir/server.properties"
    local java=(java "-Dlog4j2.configurationFile=$here/log4j2.xml" -cp "$jars/*")
    if [ ! -f "$dir/data/meta.properties" ]; then
        "${java[@]}" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format --ignore-formatted \
            -t "$(cluster_id)" -c "$dir/server.properties" >"$dir/format.log" 2>&1 ||
            die "could not format $dir: $(grep -m 1 -E 'Exception|Error' "$dir/format.log")"
    fi
    exec "${java[@]}" "-Xmx${ENCORE_KAFKA_HEAP:-512m}" kafka.Kafka "$dir/server.properties"
}

case "${1:-}:$#" in
    fetch:1) fetch ;;
    start:3 | start:4) start "${@:2}" ;;
    *) die "usage: kafka.sh fetch | kafka.sh start DIR PORT [CONTROLLER]" ;;
esac
