# Shared by the scripts beside it; sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${HYPERSONIC_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/hypersonic}
ap_types=${HYPERSONIC_AP_TYPES:-$cache/ap_types-1.3.0}
venv=$root/.venv
perf_analyzer=${HYPERSONIC_PERF_ANALYZER:-$cache/perf_analyzer-2.60.0/perf_analyzer}
tritonserver=${HYPERSONIC_TRITON:-$cache/triton-2.51.0/tritonserver}

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
    say "$@"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
