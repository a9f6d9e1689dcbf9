//! The list of faults: one table that the parser, `--list-faults` and the truth file share.

use std::fmt;
use std::time::Duration;

macro_rules! faults {
    ($($kind:ident = $name:literal, $explanation:literal;)*) => {
        /// A way in which the hub can misbehave.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum FaultKind {
            $(#[doc = $explanation] $kind,)*
        }

        impl FaultKind {
            /// All of them, in the order in which they are listed to users.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$kind),*];

            /// The name in `--fault` and in the truth file.
            pub const fn name(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $name,)*
                }
            }

            /// One line for people: what happens, and at which opportunities.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $explanation,)*
                }
            }
        }
    };
}

faults! {
    Drop = "drop", "a delivery to one member is withheld before it gets a sequence id: no gap shows";
    Omit = "omit", "a delivery to one member is withheld after numbering: its sequence id is missing";
    SkipId = "skip_id", "one sequence id of a receiver is never used; no message is lost";
    DuplicateNewId = "duplicate_new_id", "a delivery is queued twice, under two sequence ids";
    DuplicateSameId = "duplicate_same_id", "the same frame is sent twice on one transport, same sequence id";
    ReuseId = "reuse_id", "a new message is sent under the sequence id of the one before it";
    Swap = "swap", "two consecutive deliveries of one publisher to one receiver change places";
    SwapPublishers = "swap_publishers", "two consecutive deliveries of different publishers to one receiver change places (permitted)";
    Corrupt = "corrupt", "one character or byte of a delivery's payload is changed, anywhere in it";
    CorruptHead = "corrupt_head", "one of the first 32 characters or bytes of a delivery's payload is changed";
    CorruptTail = "corrupt_tail", "the last character or byte of a delivery's payload is changed";
    Truncate = "truncate", "the last character or byte of a delivery's payload is cut off";
    WrongGroup = "wrong_group", "a delivery names another group in its envelope";
    WrongType = "wrong_type", "a delivery names another dataType than was published";
    WrongUser = "wrong_user", "a delivery names another fromUserId than the publisher's";
    Misdeliver = "misdeliver", "a published message also goes to one connection of the hub that never was in the group";
    IgnoreLeave = "ignore_leave", "a leave is acknowledged but the connection stays a member";
    Echo = "echo", "a message sent with noEcho comes back to the connection that sent it";
    SwallowEcho = "swallow_echo", "a publisher that is a member does not get its own message, though it did not ask for noEcho";
    Fabricate = "fabricate", "one member of a group gets a message that nobody published";
    LoseAck = "lose_ack", "a publish is executed and its ack never sent";
    AckLie = "ack_lie", "a publish is acknowledged with success and nobody is served";
    AckUnsolicited = "ack_unsolicited", "beside a publish's ack comes an ack for an ackId that was never used";
    Refuse = "refuse", "a publish is not executed and answered with InternalServerError";
    RefuseExecuted = "refuse_executed", "a publish is executed but answered with InternalServerError";
    ForbidExecuted = "forbid_executed", "a publish is executed but answered with Forbidden";
    FalseDuplicate = "false_duplicate", "a first publish is answered with Duplicate and not executed";
    IgnoreDedupe = "ignore_dedupe", "a publish with an ackId that was executed before is executed again";
    DenyJoin = "deny_join", "a join is answered with Forbidden, rejoins after a reconnect included";
    RecoveryDeny = "recovery_deny", "a recovery in time is refused with close 1008 and the session ends";
    RecoveryLose = "recovery_lose", "a recovery leaves out one message that was queued while the connection was away";
    RecoveryRepeat = "recovery_repeat", "a recovery also replays up to 3 messages that were acknowledged before";
    RecoveryForgetGroups = "recovery_forget_groups", "a recovered connection is no longer a member of its groups";
    RecoveryOtherId = "recovery_other_id", "the connected frame after a recovery names another connectionId";
    DelayAck = "delay_ack", "an answer to a request leaves late (for=, 200 ms)";
    DelayDelivery = "delay_delivery", "a delivery to one member is made late (for=, 1 s) and overtaken by later ones";
    DoubleJoin = "double_join", "a join counts twice: everything published to the group comes twice";
    JoinLate = "join_late", "a join is acknowledged at once but in force only later (for=, 1 s)";
    LeaveCut = "leave_cut", "deliveries are held back (for=, 2 s) and thrown away if their receiver leaves the group meanwhile";
    DenyRejoin = "deny_rejoin", "a join that the same user made on an earlier connection is answered with Forbidden";
    Stall = "stall", "after a delivery nothing more is written to that connection for a while (for=, 5 s)";
    Freeze = "freeze", "after a delivery no group message is delivered to that connection any more; everything else goes on";
    Reset = "reset", "after a delivery that connection is ended with a TCP reset; its session stays recoverable";
    Close = "close", "after a delivery that connection is closed with code=, 1001; with 1000 and 1008 its session ends";
    HalfOpen = "half_open", "after a delivery that connection's socket stays open and nothing moves on it any more";
    Garbage = "garbage", "beside a delivery comes a text frame that is no JSON";
    Oversized = "oversized", "beside a delivery comes a frame of 2 MiB";
    RefuseConnect = "refuse_connect", "a connect request is answered by closing the TCP connection";
    HangConnect = "hang_connect", "a connect request is not answered, and its TCP connection closed after a while (for=, 10 s)";
    DelayConnect = "delay_connect", "a connect request is answered late (for=, 1 s)";
    Http401 = "http_401", "a connect request is refused with 401";
    Http429 = "http_429", "a connect request is refused with 429 and Retry-After";
    Http503 = "http_503", "a connect request is refused with 503";
    TokenExpired = "token_expired", "the token of a connect request is refused as if it had expired";
    RecoverySlow = "recovery_slow", "a recovery is accepted but nothing is sent on it for a while (for=, 3 s)";
    Restart = "restart", "at a publish, or at a time (at=), all state is lost and every connection reset";
    RecoveryRenumber = "recovery_renumber", "a recovered connection's sequence ids start again at 1";
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FaultKind {
    /// How long this fault lasts unless `for=` says otherwise; `None`: it has no duration.
    pub const fn default_lasting(self) -> Option<Duration> {
        Some(Duration::from_millis(match self {
            FaultKind::DelayAck => 200,
            FaultKind::DelayDelivery | FaultKind::JoinLate | FaultKind::DelayConnect => 1000,
            FaultKind::LeaveCut => 2000,
            FaultKind::RecoverySlow => 3000,
            FaultKind::Stall => 5000,
            FaultKind::HangConnect => 10_000,
            _ => return None,
        }))
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind whose name is most like `name`, for error messages.
    pub fn nearest(name: &str) -> FaultKind {
        Self::ALL
            .iter()
            .copied()
            .max_by(|a, b| {
                strsim::jaro_winkler(name, a.name())
                    .total_cmp(&strsim::jaro_winkler(name, b.name()))
            })
            .unwrap_or(FaultKind::Drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_named_and_is_explained_in_a_line() {
        for &kind in FaultKind::ALL {
            assert_eq!(FaultKind::from_name(kind.name()), Some(kind));
            assert!(!kind.explanation().contains('\n') && kind.explanation().len() > 20);
        }
    }

    #[test]
    fn a_misspelt_fault_is_led_to_the_right_one() {
        assert_eq!(FaultKind::nearest("mis-deliver"), FaultKind::Misdeliver);
        assert_eq!(FaultKind::nearest("ack_loss"), FaultKind::AckLie);
    }
}
