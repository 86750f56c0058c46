#!/usr/bin/env bash
# Starts a cluster in containers, writes on each node, cuts one off the network for five seconds while
# writes go on everywhere, joins it again, and checks that every store ends with the same content.
#
#   deployment/compose/smoke.sh
#
# From the environment:
#   NODES            how many nodes, at least 3 (3)
#   PROGRAM          a built program to put into the image; without it the image is built from source
#   BUILD_ARGUMENTS  more arguments for `docker build`, such as: --network host --build-arg BASE_IMAGE=..
#   STARLING_IMAGE   an image to use as it is; nothing is built then
#
# shellcheck disable=SC2317 # the trap calls what looks unreachable
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=$here/../..
readonly nodes=${NODES:-3} cut_s=5
# Generous for a loaded machine: a healthy run needs a few seconds of it.
readonly patience_s=120

export COMPOSE_PROJECT_NAME=starling-smoke-$$
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose --file "$here/compose.yaml")
else
    compose=(docker-compose --file "$here/compose.yaml")
fi

say() { printf 'smoke: %s\n' "$*"; }

finish() {
    local status=$?
    trap - EXIT
    if ((status)); then "${compose[@]}" logs --no-color --tail 40 || true; fi
    "${compose[@]}" down --volumes --timeout 60 >/dev/null 2>&1 || true
    if ((status)); then say "failed"; else say "passed"; fi
    exit "$status"
}

build_image() {
    local arguments=() folder
    read -ra arguments <<<"${BUILD_ARGUMENTS:-}"
    export STARLING_IMAGE=starling:smoke
    if [[ -n ${PROGRAM:-} ]]; then
        folder=$(mktemp -d)
        install -m 755 "$PROGRAM" "$folder/starling"
        docker build "${arguments[@]}" --target prebuilt --tag "$STARLING_IMAGE" \
            --file "$root/deployment/docker/Dockerfile" "$folder"
        rm -r "$folder"
    else
        docker build "${arguments[@]}" --tag "$STARLING_IMAGE" \
            --file "$root/deployment/docker/Dockerfile" "$root"
    fi
}

# Where each container's store is: its private server's own socket, which needs no network.
declare -A url

find_store() {
    url[$1]=$(docker exec "$1" starling status -o json |
        sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' | head -n 1) || true # the exit code tells its health
    sql "$1" 'select 1'
}

# sql CONTAINER QUERY
sql() {
    docker exec "$1" psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 "${url[$1]}" -c "$2"
}

# wait_until WHAT COMMAND...
wait_until() {
    local what=$1 deadline=$((SECONDS + patience_s))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            say "not within $patience_s s: $what"
            return 1
        fi
        sleep 0.2
    done
}

# Prints what a store holds: every present operation of every structure, without the nodes' own
# bookkeeping and without the way it came.
content() {
    sql "$1" "select count(*), md5(string_agg(concat_ws('|', id, key, site, seq, op, data), ';' order by id, key, site))
              from crdv.element where id not like '\$%'"
}

# counters_are EXPECTED CONTAINER...
counters_are() {
    local expected=$1 container
    shift
    for container in "$@"; do
        [[ $(sql "$container" "select counterGet('smoke')") == "$expected" ]] || return 1
    done
}

# equal CONTAINER...
equal() {
    local first container
    first=$(content "$1")
    for container in "$@"; do
        [[ -n $first && $(content "$container") == "$first" ]] || return 1
    done
}

# Writes on one container until a moment, and prints how many writes were acknowledged.
write_until() {
    local container=$1 end=$2 acknowledged=0
    while ((SECONDS < end)); do
        if sql "$container" "select counterInc('smoke', 1)" >/dev/null 2>&1; then
            acknowledged=$((acknowledged + 1))
        fi
    done
    echo "$acknowledged"
}

cut_off_and_join_again() {
    local cut=${all[-1]} rest=("${all[@]:0:nodes-1}") network end container joined
    local counts=() writers=() files
    network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$cut")
    files=$(mktemp -d)
    docker network disconnect "$network" "$cut"
    say "one node is off the network for $cut_s s; writes go on on all $nodes"
    end=$((SECONDS + cut_s))
    for container in "${all[@]}"; do
        write_until "$container" "$end" >"$files/$container" &
        writers+=("$!")
    done
    wait "${writers[@]}"
    for container in "${all[@]}"; do counts+=("$(<"$files/$container")"); done
    rm -r "$files"

    local outside=$((total + counts[nodes - 1])) inside=$total count
    for count in "${counts[@]:0:nodes-1}"; do inside=$((inside + count)); done
    if ((inside == total || outside == total)); then say "nothing was written"; return 1; fi
    wait_until "the connected nodes have each other's writes" counters_are "$inside" "${rest[@]}"
    counters_are "$outside" "$cut" || { say "the cut was none: the node has writes from outside"; return 1; }
    say "acknowledged meanwhile: ${counts[*]}; the last of them only on the node that is cut off"

    docker network connect --alias node "$network" "$cut" # as compose had connected it
    joined=$SECONDS
    total=$((inside + outside - total))
    wait_until "every store has all $total increments" counters_are "$total" "${all[@]}"
    wait_until "every store has the same content" equal "${all[@]}"
    say "joined again: all $nodes have all $total increments and the same content after $((SECONDS - joined)) s"
}

if ((nodes < 3)); then
    say "NODES must be at least 3"
    exit 2
fi
docker version >/dev/null
trap finish EXIT
trap 'exit 130' INT TERM
[[ -n ${STARLING_IMAGE:-} ]] || build_image

"${compose[@]}" up --detach --scale "node=$((nodes - 1))"
began=$SECONDS
# shellcheck disable=SC2207 # identifiers hold no spaces
all=($("${compose[@]}" ps --quiet seed) $("${compose[@]}" ps --quiet node))
for container in "${all[@]}"; do
    wait_until "$container serves its store" find_store "$container"
done
say "$nodes nodes serve their stores after $((SECONDS - began)) s"

total=0
for container in "${all[@]}"; do
    sql "$container" "select counterInc('smoke', 1)" >/dev/null
    total=$((total + 1))
done
wait_until "a write on each is on all" counters_are "$total" "${all[@]}"
say "a write on each of the $nodes nodes is on all of them"

cut_off_and_join_again
