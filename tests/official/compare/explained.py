"""Why our client differs on the wire: (official client, ours, fact) to the reason. An entry
without its difference fails the comparison, as does a difference without its entry."""

ORDER = "JSON objects have no order; ours is that of the JS client"
SAME_ACK_ID = (
    "a retry keeps its ackId, as client-spec 3.1.2 means it, so that the hub can tell it from a new"
    " publish; the official client takes a new one for each try"
)
PINGS = (
    "asks for a `pong` after a recovery, to learn whether the hub accepted it (it may refuse after the"
    " upgrade), and after 15 s of silence"
)

EXPLAINED = {
    ("python", "ours as python", "fields of sendToGroup"): ORDER,
    ("python", "ours", "fields of sendToGroup"): ORDER,
    ("js", "ours", "goodbye"): (
        "1000 ends the session at the hub at once; the JS client's close without a code leaves it there for 30 s"
    ),
}
for official in ("python", "js"):
    EXPLAINED |= {
        (official, "ours", "transport 2: requests"): SAME_ACK_ID,
        (official, "ours", "transport 4: requests"): "later ackIds are one less: " + SAME_ACK_ID,
        (official, "ours", "transport 2: last receipt"): (
            "the official client's retry under a new ackId was executed a second time: the group got the"
            " message twice, as number 21 and 22"
        ),
        (official, "ours", "fields of ping"): PINGS,
        (official, "ours", "transport 2: pings"): PINGS,
    }
