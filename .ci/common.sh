# What the scripts of this folder share; sourced.

# Says aloud what the machine or the network was forgiven. `.ci/run` names a file in
# HUBSTORM_FORGIVEN, to which the tests write as well, and shows it at its end.
forgiven() {
    echo "FORGIVEN: $*" >&2
    if [[ -n ${HUBSTORM_FORGIVEN:-} ]]; then
        echo "FORGIVEN: $*" >>"$HUBSTORM_FORGIVEN"
    fi
}

# Runs what needs the network, three times at the most: a registry that is away for a moment
# says nothing of this project.
retried() {
    local try
    for try in 1 2 3; do
        if "$@"; then
            return 0
        fi
        forgiven "try $try of 3 failed: $*"
        ((try == 3)) || sleep $((try * 5))
    done
    return 1
}
