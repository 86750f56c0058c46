#!/usr/bin/env bash
# Three hosts on one network, each a namespace of its own with one `starling up`: joined by one
# bootstrap address, then by mDNS alone. In both, a write on each store must reach every store; in the
# first, also after one host was cut off for a while.
#
#   tests/netns.sh [PROGRAM]
#
# Only root can make network namespaces; for anybody else this says so and ends.
# shellcheck disable=SC2317 # the trap calls what looks unreachable
set -euo pipefail

readonly binary=${1:-target/debug/starling}
readonly nodes=(1 2 3)
readonly prefix=starling-$$
# Generous for a loaded machine: a healthy run needs a few seconds of it.
readonly patience_s=90
# The cut outlasts the detection of silent neighbours and the grace of their links.
readonly grace_s=3 cut_s=12

if [[ $(id -u) != 0 ]]; then
    echo 'netns: skipped: only root can make network namespaces'
    exit 0
fi
if ! ip netns add "$prefix-lan"; then
    echo 'netns: skipped: this root may not make network namespaces (see above)'
    exit 0
fi

data=$(mktemp -d /tmp/starling-netns.XXXXXX)
chmod 755 "$data" # the private servers run as another user
pids=()

stop_nodes() {
    local pid
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}

finish() {
    local status=$? node
    trap - EXIT
    if ((status)); then
        for node in "${nodes[@]}"; do
            echo "netns: last words of node $node:"
            tail -n 30 "$data/$node.log" 2>/dev/null || true
        done
    fi
    stop_nodes
    for node in "${nodes[@]}"; do ip netns delete "$prefix-$node" 2>/dev/null || true; done
    ip netns delete "$prefix-lan"
    rm -rf "$data"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# One bridge, in a namespace of its own so that no firewall of this machine is in the way.
make_network() {
    local node
    ip -n "$prefix-lan" link add lan type bridge mcast_snooping 0
    ip -n "$prefix-lan" link set lan up
    for node in "${nodes[@]}"; do
        ip netns add "$prefix-$node"
        ip -n "$prefix-lan" link add "port$node" type veth peer name eth0 netns "$prefix-$node"
        ip -n "$prefix-lan" link set "port$node" master lan up
        ip -n "$prefix-$node" address add "10.77.0.$node/24" dev eth0
        ip -n "$prefix-$node" link set lo up
        ip -n "$prefix-$node" link set eth0 up
    done
}

# start NODE ARGUMENTS...: the ports are the defaults, because every host is its own.
start() {
    local node=$1
    shift
    ip netns exec "$prefix-$node" "$binary" up --name "node$node" --data-dir "$data/$node" \
        --pg-listen 0.0.0.0:7432 "$@" >>"$data/$node.log" 2>&1 &
    pids+=("$!")
}

# sql NODE QUERY
sql() {
    local url
    # The command's exit code speaks of the node's health, which is not asked here.
    url=$(ip netns exec "$prefix-$1" "$binary" status -o json 2>/dev/null |
        sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' | head -n 1) || true
    [[ -n $url ]] && psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 "$url" -c "$2"
}

# wait_until WHAT COMMAND...
wait_until() {
    local what=$1 deadline=$((SECONDS + patience_s))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "netns: failed: not within $patience_s s: $what"
            return 1
        fi
        sleep 0.2
    done
}

increment() {
    sql "$1" "select counterInc('netns', 1)"
}

# counter_is EXPECTED: every store reads it.
counter_is() {
    local node
    for node in "${nodes[@]}"; do
        [[ $(sql "$node" "select counterGet('netns')") == "$1" ]] || return 1
    done
}

# Whether each node says that anybody may join, as nobody needs a key here.
say_that_they_are_open() {
    local node
    for node in "${nodes[@]}"; do
        # It ends with the code of its worst finding.
        { ip netns exec "$prefix-$node" "$binary" doctor || true; } | grep -q "^SN009 *warning" || return 1
    done
}

# joined_by HOW: writes once on each of the running nodes and waits for all of it everywhere.
joined_by() {
    local how=$1 node began=$SECONDS
    for node in "${nodes[@]}"; do
        wait_until "node $node serves its store ($how)" sql "$node" 'select 1'
        increment "$node" >/dev/null
    done
    wait_until "every store has every write ($how)" counter_is "${#nodes[@]}"
    wait_until "every node says that anybody may join ($how)" say_that_they_are_open
    echo "netns: passed: ${#nodes[@]} nodes joined by $how: a write on each is on all, $((SECONDS - began)) s after the start"
}

# Pulls the cable of node 3 for longer than its links are kept, while every node writes, and plugs it in
# again.
survives_a_cut() {
    local node began
    ip -n "$prefix-lan" link set port3 down
    for node in "${nodes[@]}"; do increment "$node" >/dev/null; done
    sleep "$cut_s"
    ip -n "$prefix-lan" link set port3 up
    began=$SECONDS
    wait_until 'every store has every write after the cut' counter_is $((2 * ${#nodes[@]}))
    echo "netns: passed: one of ${#nodes[@]} hosts was cut off for $cut_s s: all writes of both sides are on all, $((SECONDS - began)) s after the cut's end"
}

make_network

start 1 --mdns off --link-grace "$grace_s"s
start 2 --mdns off --link-grace "$grace_s"s --bootstrap /ip4/10.77.0.1/tcp/7400
start 3 --mdns off --link-grace "$grace_s"s --bootstrap /ip4/10.77.0.1/tcp/7400
joined_by 'one bootstrap address'
survives_a_cut
stop_nodes
rm -rf "${data:?}"/*

for node in "${nodes[@]}"; do start "$node" --mdns on; done
joined_by 'mDNS alone'
