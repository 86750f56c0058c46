#!/bin/sh
# Puts in place what Starling needs beyond a Rust toolchain, and says what it does.
# A thing that is there already is left alone; nothing is started and nothing is reconfigured.
#
#   deployment/setup.sh [linker] [postgresql] [nextest] [netns] [faketime]
#
# On Debian and its relatives it installs packages by itself: as root directly, else through sudo.
# Anywhere else it ends with the command that installs them.
set -eu

# The oldest PostgreSQL with row filters in publications, which every link needs.
POSTGRESQL_MAJOR_MIN=15
NEXTEST_VERSION=0.9.143

say() {
    printf 'setup: %s\n' "$*" >&2
}

fail() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf 'setup:   %s\n' "$line" >&2; done
    exit 1
}

# Runs a command as root, or fails without having done anything. sudo may only ask for a password
# where somebody can answer.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# What is missing, and the packages that bring it, per package manager.
missing='' debian='' dnf='' brew=''

# lacks WHAT 'DEBIAN PACKAGES' 'DNF PACKAGES' 'HOMEBREW PACKAGES'
lacks() {
    missing="$missing${missing:+, }$1"
    debian="$debian $2" dnf="$dnf $3" brew="$brew $4"
}

# Rust cannot link without a C compiler, and some crates build C.
linker() {
    command -v cc >/dev/null 2>&1 || lacks 'a C compiler' 'gcc libc6-dev' 'gcc glibc-devel' 'gcc'
}

# Prints the folder of a PostgreSQL server that is new enough, looking where the node looks.
find_postgresql() {
    for folder in \
        "${STARLING_PG_BIN:-}" \
        "$(pg_config --bindir 2>/dev/null || true)" \
        "$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin \
        /usr/lib64/postgresql-*/bin /usr/libexec/postgresql* /usr/local/pgsql/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin; do
        if [ ! -x "$folder/initdb" ] || [ ! -x "$folder/postgres" ]; then continue; fi
        major=$("$folder/postgres" --version | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$POSTGRESQL_MAJOR_MIN" ]; then
            printf '%s\n' "$folder"
            return
        fi
    done
    return 1
}

postgresql() {
    find_postgresql >/dev/null ||
        lacks 'PostgreSQL' 'postgresql' 'postgresql-server postgresql-contrib' 'postgresql@17'
}

# Network namespaces for the tests of several hosts on one machine; only root can make them.
netns() {
    [ "$(id -u)" -eq 0 ] || return 0
    command -v ip >/dev/null 2>&1 || lacks 'ip' 'iproute2' 'iproute' 'iproute2mac'
}

# libfaketime, for the test of a store whose clock is wrong.
faketime() {
    for library in /usr/lib64/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 \
        /usr/lib/*/faketime/libfaketime.so.1; do
        if [ -e "$library" ]; then return; fi
    done
    lacks 'libfaketime' 'faketime' 'libfaketime' 'libfaketime'
}

# The test runner, built for a short build: without optimisation, and without its self-update.
# Where that fails, the same tests run with cargo test.
nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "cargo-nextest is missing; installing it with: cargo install cargo-nextest (takes minutes)"
    cargo install --quiet --locked cargo-nextest --version "$NEXTEST_VERSION" \
        --debug --no-default-features --features default-no-update ||
        say "cargo-nextest could not be installed (see above); the tests run with cargo test instead"
}

install_missing() {
    if command -v apt-get >/dev/null 2>&1; then
        install_on_debian
    elif command -v dnf >/dev/null 2>&1; then
        fail "missing: $missing. Run this once, then try again:" "sudo dnf install$dnf"
    elif command -v brew >/dev/null 2>&1; then
        fail "missing: $missing. Run this once, then try again:" "brew install$brew"
    else
        fail "missing: $missing; and this system's package manager is not one we know." \
            "Install it by hand, then try again."
    fi
}

install_on_debian() {
    as_root true || fail "missing: $missing; only root can install it. Run this once, then try again:" \
        "sudo apt-get install --no-install-recommends$debian" \
        "(The package postgresql also starts a server of its own, which Starling does not use.)"
    say "missing: $missing; installing it with: apt-get install$debian"
    case $debian in *postgresql*) without_default_cluster ;; esac
    as_root apt-get -qq update || fail "apt-get update failed (its message is above)"
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
        install --yes --no-install-recommends $debian >/dev/null ||
        fail "apt-get could not install$debian (its message is above)"
}

# Debian's package would create and start a server of its own, which nobody asked for: a drop-in
# that is gone again afterwards prevents it. Servers that exist already are not touched.
without_default_cluster() {
    drop_in=/etc/postgresql-common/createcluster.d/starling-setup.conf
    # shellcheck disable=SC2064 # the name is known now and does not change
    trap "as_root rm -f $drop_in" EXIT
    as_root mkdir -p "$(dirname "$drop_in")" # the package's own folder, so it may stay
    as_root sh -c "echo 'create_main_cluster = false' > $drop_in"
    say "Debian's default PostgreSQL server is not created: Starling runs private ones"
}

[ $# -gt 0 ] || fail "name what to set up: linker, postgresql, nextest, netns, faketime"
after=''
for thing in "$@"; do
    case $thing in
    linker | postgresql | netns | faketime) "$thing" ;;
    nextest) after=nextest ;; # needs the linker
    *) fail "no such thing to set up: $thing" ;;
    esac
done
if [ -n "$missing" ]; then
    install_missing
    case $missing in
    *PostgreSQL*)
        folder=$(find_postgresql) || fail \
            "the PostgreSQL of this system's packages is older than $POSTGRESQL_MAJOR_MIN." \
            "Add the PostgreSQL project's own package repository, or name a folder that holds" \
            "initdb and postgres in the environment: STARLING_PG_BIN=FOLDER"
        say "PostgreSQL is in $folder"
        ;;
    esac
fi
$after
