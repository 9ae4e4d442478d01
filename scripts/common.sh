# Shared by scripts/demo and scripts/test: installing, configuring, building, with progress and plain errors.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -t 1 ]; then bold=$'\033[1m'; red=$'\033[31m'; plain=$'\033[0m'; else bold=; red=; plain=; fi
started=$SECONDS
say() { printf '%s[%4ds] %s%s\n' "$bold" $((SECONDS - started)) "$*" "$plain"; }
die() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

# Installs the packages of scripts/packages.txt that are missing; of "a|b" a, where neither is there.
install_packages() {
  command -v dpkg-query >/dev/null || die "this script installs Debian packages, and dpkg is not here; see scripts/packages.txt for what is needed"
  local missing=() package alternative
  while read -r package; do
    case "$package" in ''|'#'*) continue ;; esac
    for alternative in ${package//|/ }; do
      [ "$(dpkg-query -W -f='${db:Status-Status}' "$alternative" 2>/dev/null)" = installed ] && continue 2
    done
    missing+=("${package%%|*}")
  done <"$root/scripts/packages.txt"
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing, and neither root nor sudo is at hand to install them: ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local log; log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
         apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "installing packages failed; the whole log is $log"
  fi
  rm -f "$log"
}

jobs_count() { nproc 2>/dev/null || echo 2; }

# build PRESET [TARGET...]: configures when needed, builds, shows ninja's progress on a terminal and a line every
# 20 seconds elsewhere; on failure prints the end of the log.
build() {
  local preset=$1; shift
  local log="$root/build/$preset.log"
  mkdir -p "$root/build"
  say "configuring $preset"
  (cd "$root" && cmake --preset "$preset") >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "configuring $preset failed; the whole log is build/$preset.log"; }
  say "building $preset"
  if [ -t 1 ]; then
    (cd "$root" && cmake --build --preset "$preset" -j "$(jobs_count)" ${1:+--target "$@"}) 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || die "building $preset failed; the whole log is build/$preset.log"
  else
    (cd "$root" && exec cmake --build --preset "$preset" -j "$(jobs_count)" ${1:+--target "$@"}) >>"$log" 2>&1 &
    local pid=$! tick=0
    while kill -0 "$pid" 2>/dev/null; do
      sleep 1; tick=$((tick + 1))
      [ $((tick % 20)) = 0 ] && say "building $preset: $(grep -aoE '^\[[0-9]+/[0-9]+\]' "$log" | tail -n 1)"
    done
    wait "$pid" || { grep -aE -A12 'error:|FAILED' "$log" | head -n 60 >&2; die "building $preset failed; the whole log is build/$preset.log"; }
  fi
}

# experiments LAB: the names of all that this bmc_lab has, a line each.
experiments() {
  "$1" list --json | python3 -c 'import json, sys; [print(e["name"]) for e in json.load(sys.stdin)["experiments"]]'
}

# build_trained: build/trained/bin/bmc_lab and bmcpair_lab_bench, optimised after what the laboratory's own runs do. Built once
# to count that, and once more after the counts; nothing where that has been done and no source has changed since.
build_trained() {
  local folder="$root/build/trained"
  local lab="$folder/bin/bmc_lab" done="$folder/trained" names name strategy before after
  if [ -e "$done" ] && [ -z "$(find "$root"/{bmc_emu,host_driver,integration,proto,vfio_bridge,CMakeLists.txt,CMakePresets.json} \
                               -type f -not -name '*.pyc' -newer "$done" -print -quit)" ]; then
    return 0
  fi
  rm -f "$done"
  build training bmc_lab
  find "$folder" -name '*.gcda' -delete
  say "counting what its runs do"
  count() {
    "$lab" explore "$@" --profile hardened --jobs 1 >>"$root/build/training.log" 2>&1 ||
      die "bmc_lab explore $* --profile hardened fails; the whole log is build/training.log"
  }
  # A little of everything, so that nothing counts as never done; and much of a bring-up, which most experiments begin with.
  names=$(experiments "$lab") || die "bmc_lab list fails"
  for name in $names; do count "$name" --runs 20; done
  for strategy in tame random time pct starve loads; do count bt-cap-begin --strategy "$strategy" --runs 2000; done
  before=$("$lab" run bt-cap-begin --profile hardened --seed 1 --json) || die "bmc_lab run fails"
  build trained bmc_lab bmcpair_lab_bench
  after=$("$lab" run bt-cap-begin --profile hardened --seed 1 --json) || die "the trained bmc_lab run fails"
  [ "$before" = "$after" ] || die "the trained bmc_lab does something else: $after instead of $before"
  touch "$done"
}
