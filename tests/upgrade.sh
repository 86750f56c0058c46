#!/usr/bin/env bash
# Upgrades from an earlier version: builds its program, then lets it and this one run on the same data
# directories and stores, in one cluster, and at last under chaos.
#
#   tests/upgrade.sh [COMMIT]
#
#   COMMIT            the earlier version, by default the last one before the code got its present words
#   STARLING_EARLIER  a program that is built already; nothing is built then
#   SECONDS_OF_CHAOS  how long both are troubled together, by default 240; 0 leaves it out
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly commit=${1:-6293f64}
readonly chaos_s=${SECONDS_OF_CHAOS:-240}
readonly target=${CARGO_TARGET_DIR:-target}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi

if [[ -z ${STARLING_EARLIER:-} ]]; then
    git rev-parse --verify --quiet "$commit^{commit}" >/dev/null || {
        echo "upgrade: error: no commit $commit here; a shallow clone lacks it: git fetch --unshallow" >&2
        exit 1
    }
    mkdir -p "$target"
    tree=$(cd "$target" && pwd)/earlier-$commit
    if [[ ! -x $tree/target/debug/starling ]]; then
        echo "upgrade: building $commit in $tree" >&2
        rm -rf "$tree"
        git worktree prune
        git worktree add --detach --quiet "$tree" "$commit"
        (cd "$tree" && CARGO_TARGET_DIR=$tree/target cargo build --locked --package starling)
    fi
    STARLING_EARLIER=$tree/target/debug/starling
fi
export STARLING_EARLIER

cargo nextest run --locked --package starling --test main --ignore-default-filter -E 'test(/^upgrade::/)'
if ((chaos_s)); then
    STARLING_CHAOS_SECONDS=$chaos_s cargo nextest run --locked --package starling --test main \
        --profile campaign --no-capture chaos_nodes::whole
fi
