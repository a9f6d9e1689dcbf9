//! Every key of the format in one table: what the JSON Schema, the reference page and the
//! test of the examples are made of. That it names the same keys as the readers in `resolve`
//! is tested there.

use serde_json::{Map, Value, json};

use super::model::ChaosKind;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its dotted path; `*` for a name of the user's own, `0` for any item of a list.
    pub path: &'static str,
    /// What may stand there.
    pub form: Form,
    /// What it means, and what holds when it is left out.
    pub says: &'static str,
    /// A value.
    pub example: &'static str,
    /// What else the example needs, as `--set` takes it.
    pub with: &'static [&'static str],
}

/// What may stand at a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A mapping with fixed keys.
    Map,
    /// A mapping of the user's own names.
    Names,
    /// A list of mappings.
    List,
    /// A list of texts.
    Texts,
    /// Any text.
    Text,
    /// A whole number.
    Whole,
    /// A number or a percentage.
    Number,
    /// `true` or `false`.
    Flag,
    /// `250ms`, `30s`, `2h`.
    Duration,
    /// `500/s`, `12/min`.
    Rate,
    /// `128B`, `2KiB`.
    Size,
    /// `10%`.
    Share,
    /// `10KiB/s`.
    ByteRate,
    /// One of these.
    One(&'static [&'static str]),
    /// A whole number, or one of these words.
    WholeOr(&'static [&'static str]),
    /// A duration, or one of these words.
    DurationOr(&'static [&'static str]),
    /// A duration, `exponential(MEAN)` or `uniform(MIN, MAX)`.
    Stay,
    /// A value of this form, or a mapping with fixed keys.
    OrMap(&'static Form),
}

/// The table's short hand.
const fn key(
    path: &'static str,
    form: Form,
    says: &'static str,
    example: &'static str,
    with: &'static [&'static str],
) -> Key {
    Key {
        path,
        form,
        says,
        example,
        with,
    }
}

const LATENCY: &[&str] = &["chaos.0={kind: latency, at: 5s, share: 10%, for: 5s, delay: 1s}"];
const RESETS: &[&str] = &["chaos.0={kind: reset, start: 5s, every: 2s, share: 10%}"];
const ONCE: &[&str] = &["chaos.0={kind: reset, at: 5s, share: 10%}"];
const NOBODY: &[&str] = &["chaos.0={kind: reset, at: 5s}"];
const NARROW: &[&str] = &["chaos.0={kind: throttle, at: 5s, share: 10%, for: 5s}"];
const SLICED: &[&str] = &["chaos.0={kind: slice, at: 5s, share: 10%, for: 5s}"];
const LATE: &[&str] = &["chaos.0={kind: recover_late, at: 5s, share: 10%}"];
const JUDGED: &[&str] = &["thresholds.0={that: ack.p99 < 1s}"];
const ABORTS: &[&str] = &["thresholds.0={that: ack.p99 < 1s, abort: true}"];
const RAMP: &[&str] = &["pools.a.publish.profile={ramp: {over: 10s}}"];
const STEPS: &[&str] = &["pools.a.publish.profile={steps: [{for: 10s, at: 2}]}"];
const STAGES: &[&str] = &["pools.a.publish.profile={stages: [{for: 10s, to: 2}]}"];
const SPIKE: &[&str] = &["pools.a.publish.profile={spike: {at: 5s, for: 5s, to: 3}}"];
const PAUSE: &[&str] = &["pools.a.publish.profile={pause: {at: 5s, for: 5s}}"];
const SINE: &[&str] = &["pools.a.publish.profile={sine: {period: 10s}}"];
const RANGE: &[&str] = &["pools.a.publish.payload={size: {min: 100B, max: 4KiB}}"];
const LOGNORMAL: &[&str] =
    &["pools.a.publish.payload={size: {lognormal: {median: 400B, p99: 4KiB}}}"];
const CLOSED: &[&str] = &["pools.a.publish={next: after_ack}"];
const VISITORS: &[&str] = &["pools.a={sessions: {arrive: 1/s, stay: 5s}}"];
const MEMBERS: &[&str] = &["pools.a.groups={count: 10}"];
const SIZED: &[&str] = &["pools.a.groups={size: {min: 2, max: 20}}"];
const NAMED: &[&str] = &["pools.a.groups={names: [lobby, news]}"];
const CHURN: &[&str] = &["pools.a.churn={every: 30s, away: 2s}"];
const RETRY: &[&str] = &["pools.a.client.retry={attempts: 3}"];
const RECONNECT: &[&str] = &["pools.a.client.reconnect={mode: exponential}"];
const RECEIPTS: &[&str] = &["pools.a.client.sequence_ack={interval: 1s}"];
const SERVERS: &[&str] = &["pools.a={servers: 1, publish: {rate: 1/s, to: {user: b}}}"];
const TO_CONNECTION: &[&str] = &["pools.a={servers: 1, publish: {rate: 1/s, to: {connection: b}}}"];
const ENDPOINT: &[&str] = &["target={endpoint: 'http://127.0.0.1:8080'}"];

/// The table, in the order of the page.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("hubstorm", Form::Whole, "Format version: 1.", "1", &[]),
    key("include", Form::Texts, "Files (one, or a list) that this one is laid over, seen from its folder: mappings are merged, all else is replaced.", "[]", &[]),
    key("variants", Form::Names, "Names, each with what is different in it; `--variant NAME` lays it over the rest. All are checked.", "{long: {duration: 1h}}", &[]),
    key("name", Form::Text, "Names the run: letters, digits, `-`, `_`, `.`. Left out: the file's name.", "chat-rooms", &[]),
    key("seed", Form::Whole, "Every random choice derives from it. Left out: drawn, and printed.", "7", &[]),
    key("duration", Form::Duration, "How long the load lasts; connecting comes before, draining after it. Left out: 30s.", "20s", &[]),
    key("drain", Form::Duration, "How long after load, last fault and last return deliveries may still arrive. Left out: 10s.", "10s", &[]),
    key("verify", Form::Map, "How deliveries are verified.", "{mode: full}", &[]),
    key("verify.mode", Form::One(&["full", "digest", "counts"]), "Left out: full. `digest`: counts and sums of hashes by receiver, for groups too big for pairs; names no message, and order is not verified. `counts`: payloads are not read.", "digest", &[]),
    key("verify.promise", Form::One(&["published", "reference"]), "What the hub is held to. Left out: `reference` for the embedded hub, else `published`.", "published", &[]),
    key("verify.memory", Form::Size, "The verifier's memory. Left out: 1GiB.", "512MiB", &[]),
    key("verify.ack_within", Form::Duration, "How long after its last transmission a request may stay unanswered on a transport that lives, before it counts as `ack_missing`. No client's timeout: see `client.retry.ack_timeout`. Less than is left out asks more of a hub than anybody promises. Left out: 30s.", "10s", &[]),
    key("target", Form::Map, "Where clients connect. Left out: the embedded hub.", "{hub: chat}", &[]),
    key("target.endpoint", Form::Text, "Scheme and host.", "http://127.0.0.1:8080", &[]),
    key("target.access_key", Form::Text, "Signs a token per client.", "${HUB_KEY:-}", ENDPOINT),
    key("target.hub", Form::Text, "Hub name.", "chat", &[]),
    key("target.connection_string", Form::Text, "Instead of endpoint and key.", "Endpoint=https://h;AccessKey=k;Version=1.0;", &[]),
    key("target.client_access_url", Form::Text, "Instead of the others: a URL with its token, the same for all clients.", "wss://h/client/hubs/chat?access_token=t", &[]),
    key("pools", Form::Names, "The clients, by pools that do the same.", "{a: {clients: 10}}", &[]),
    key("pools.*", Form::Map, "One pool.", "{clients: 10}", &[]),
    key("pools.*.clients", Form::Whole, "How many. Of visitors (`sessions`) left out: as many as come.", "100", &[]),
    key("pools.*.servers", Form::Whole, "Instead of `clients`: application servers, which hold no connection and publish over the service API. `--scale` changes their rate, not their number.", "1", SERVERS),
    key("pools.*.protocol", Form::One(&["json.reliable", "json", "protobuf.reliable", "protobuf"]), "Left out: json.reliable.", "json", &[]),
    key("pools.*.connect", Form::Rate, "How fast the pool connects. Left out: as fast as the target takes them.", "50/s", &[]),
    key("pools.*.connections_per_user", Form::Whole, "Connections of one user, in slot order. Left out: 1.", "3", &[]),
    key("pools.*.sessions", Form::Map, "Visitors: each connects once during the load, stays, leaves its groups, closes.", "{arrive: 1/s, stay: 5s}", &["pools.a.clients="]),
    key("pools.*.sessions.arrive", Form::Rate, "How fast they come.", "2/s", VISITORS),
    key("pools.*.sessions.stay", Form::Stay, "How long: a duration, `exponential(MEAN)` or `uniform(MIN, MAX)`.", "exponential(10s)", VISITORS),
    key("pools.*.groups", Form::Map, "The groups that its clients join.", "{count: 10, join: 1}", &[]),
    key("pools.*.groups.count", Form::Whole, "How many there are to join: `group-0`, `group-1`, ...", "10", MEMBERS),
    key("pools.*.groups.prefix", Form::Text, "Instead of `group-`.", "room-", MEMBERS),
    key("pools.*.groups.size", Form::OrMap(&Form::WholeOr(&["zipf"])), "Members of each, instead of a count (2: private pairs); a range `{min, max}`; or `zipf`, with `count`.", "zipf", MEMBERS),
    key("pools.*.groups.size.min", Form::Whole, "Smallest group.", "3", SIZED),
    key("pools.*.groups.size.max", Form::Whole, "Largest group.", "30", SIZED),
    key("pools.*.groups.names", Form::Texts, "Their names, instead of a count.", "[lobby, news]", NAMED),
    key("pools.*.groups.join", Form::WholeOr(&["all"]), "How many each client joins, or `all`. Left out: 1 of counted groups, all named ones.", "all", MEMBERS),
    key("pools.*.churn", Form::Map, "Clients leave a group for a while, again and again.", "{every: 30s, away: 2s}", MEMBERS),
    key("pools.*.churn.every", Form::Duration, "The mean time in the groups.", "20s", CHURN),
    key("pools.*.churn.away", Form::Duration, "The time away.", "1s", CHURN),
    key("pools.*.client", Form::Map, "How the pool's clients behave where the protocol leaves it to them.", "{behaves_like: js}", &[]),
    key("pools.*.client.behaves_like", Form::One(&["spec", "python", "js", "dotnet", "java"]), "Whose habits they have: client-spec's, or an official client's. Left out: spec.", "python", &[]),
    key("pools.*.client.retry", Form::Map, "When requests are sent again.", "{attempts: 5}", &[]),
    key("pools.*.client.retry.attempts", Form::Whole, "After the first. Left out: 3.", "0", RETRY),
    key("pools.*.client.retry.mode", Form::One(&["fixed", "exponential"]), "How pauses grow. Left out: exponential.", "fixed", RETRY),
    key("pools.*.client.retry.delay", Form::Duration, "The first pause. Left out: 800ms.", "1s", RETRY),
    key("pools.*.client.retry.max_delay", Form::Duration, "The longest pause.", "30s", RETRY),
    key("pools.*.client.retry.jitter", Form::Share, "Up to this share of a pause is added or taken away at random. Left out: 0%, java 5%.", "20%", RETRY),
    key("pools.*.client.retry.ack_timeout", Form::DurationOr(&["never"]), "How long an answer may take, or `never`. Left out: 30s.", "never", RETRY),
    key("pools.*.client.retry.refusals", Form::One(&["none", "errors", "all"]), "After which refusals: none, errors of the service, or all, `Forbidden` too. Left out: errors.", "all", RETRY),
    key("pools.*.client.retry.fresh_ack_id", Form::Flag, "A retry takes a new ackId, as most official clients do. Left out: false.", "true", RETRY),
    key("pools.*.client.sequence_ack", Form::Map, "When received messages are acknowledged.", "{interval: 1s, every: never}", &[]),
    key("pools.*.client.sequence_ack.interval", Form::Duration, "At the latest after so long. Left out: 200ms.", "1s", RECEIPTS),
    key("pools.*.client.sequence_ack.every", Form::WholeOr(&["never"]), "At the latest after so many messages, or `never`. Left out: 250.", "100", RECEIPTS),
    key("pools.*.client.reconnect", Form::Map, "How new connections are tried.", "{attempts: unlimited, delay: 1s}", &[]),
    key("pools.*.client.reconnect.attempts", Form::Text, "Failed ones in a row until the client stops, or `unlimited`, which is left out; python: 4.", "4", RECONNECT),
    key("pools.*.client.reconnect.mode", Form::One(&["fixed", "exponential"]), "How pauses grow. Left out: exponential.", "fixed", RECONNECT),
    key("pools.*.client.reconnect.delay", Form::Duration, "The first pause. Left out: 1s.", "500ms", RECONNECT),
    key("pools.*.client.reconnect.max_delay", Form::Duration, "The longest pause. Left out: 5s.", "30s", RECONNECT),
    key("pools.*.client.reconnect.jitter", Form::Share, "Up to this share of a pause is added or taken away at random. Left out: 0%, java 50%.", "50%", RECONNECT),
    key("pools.*.client.auto_reconnect", Form::Flag, "A lost session is followed by a new connection. Left out: true.", "true", &[]),
    key("pools.*.client.auto_rejoin", Form::Flag, "Groups are joined again on a new connection. Left out: true.", "false", &[]),
    key("pools.*.client.connect_timeout", Form::Duration, "How long opening one connection may take. Left out: 15s.", "5s", &[]),
    key("pools.*.client.idle_timeout", Form::Text, "A silence that ends the transport, or `never`. Left out: 25s.", "10s", &[]),
    key("pools.*.client.user_ids", Form::One(&["own", "none"]), "Whether each user has an id. Left out: own.", "none", &[]),
    key("pools.*.client.roles", Form::Texts, "Roles in their tokens. Left out: join, leave and send everywhere.", "[webpubsub.joinLeaveGroup, webpubsub.sendToGroup]", &[]),
    key("pools.*.client.token_lifetime", Form::Duration, "How long their tokens are valid. Left out: 1h.", "5m", &[]),
    key("pools.*.publish", Form::OrMap(&Form::One(&["none"])), "What each client publishes. `none`, or left out: the pool only listens.", "{rate: 1/s, to: group-1}", &[]),
    key("pools.*.publish.rate", Form::Rate, "Per client, open loop: the schedule never waits for the hub.", "2/s", &[]),
    key("pools.*.publish.pool_rate", Form::Rate, "Of all clients of the pool together, instead of `rate`.", "500/s", &["pools.a.publish.rate="]),
    key("pools.*.publish.arrivals", Form::OrMap(&Form::One(&["uniform", "poisson", "burst"])), "`uniform` (left out), `poisson` or `burst` (ten at once; `{burst: N}`).", "poisson", &[]),
    key("pools.*.publish.arrivals.burst", Form::Whole, "Messages in one instant; the rate stays.", "5", &["pools.a.publish.arrivals={burst: 10}"]),
    key("pools.*.publish.profile", Form::OrMap(&Form::One(&["constant"])), "How the rate changes over time, one shape; factors are numbers or percentages. Left out: `constant`.", "constant", &[]),
    key("pools.*.publish.profile.ramp", Form::Map, "From one factor to another, which stays.", "{from: 0, to: 1, over: 10s}", &[]),
    key("pools.*.publish.profile.ramp.from", Form::Number, "Left out: 0.", "10%", RAMP),
    key("pools.*.publish.profile.ramp.to", Form::Number, "Left out: 1.", "2", RAMP),
    key("pools.*.publish.profile.ramp.over", Form::Duration, "How long it takes.", "5s", RAMP),
    key("pools.*.publish.profile.steps", Form::List, "One factor after the other; the last stays.", "[{for: 10s, at: 50%}, {for: 10s, at: 2}]", &[]),
    key("pools.*.publish.profile.steps.0.for", Form::Duration, "How long the step lasts.", "5s", STEPS),
    key("pools.*.publish.profile.steps.0.at", Form::Number, "The factor.", "3", STEPS),
    key("pools.*.publish.profile.stages", Form::List, "Straight lines from factor to factor; the last stays.", "[{for: 10s, to: 1}, {for: 10s, to: 0}]", &[]),
    key("pools.*.publish.profile.stages.0.for", Form::Duration, "How long the line is.", "5s", STAGES),
    key("pools.*.publish.profile.stages.0.from", Form::Number, "Left out: where the line before ended, at first 0.", "1", STAGES),
    key("pools.*.publish.profile.stages.0.to", Form::Number, "Where the line ends.", "3", STAGES),
    key("pools.*.publish.profile.spike", Form::Map, "Another factor for a while.", "{at: 10s, for: 2s, to: 5}", &[]),
    key("pools.*.publish.profile.spike.at", Form::Duration, "When it begins.", "3s", SPIKE),
    key("pools.*.publish.profile.spike.for", Form::Duration, "How long it lasts.", "2s", SPIKE),
    key("pools.*.publish.profile.spike.every", Form::Duration, "Again and again, from beginning to beginning.", "10s", SPIKE),
    key("pools.*.publish.profile.spike.to", Form::Number, "The factor.", "10", SPIKE),
    key("pools.*.publish.profile.sine", Form::Map, "Night and day.", "{period: 10s, low: 20%}", &[]),
    key("pools.*.publish.profile.sine.period", Form::Duration, "The length of a day.", "5s", SINE),
    key("pools.*.publish.profile.sine.low", Form::Number, "At night, where it begins. Left out: 0.", "0.1", SINE),
    key("pools.*.publish.profile.sine.high", Form::Number, "At noon. Left out: 1.", "2", SINE),
    key("pools.*.publish.profile.pause", Form::Map, "Nothing for a while.", "{at: 10s, for: 2s}", &[]),
    key("pools.*.publish.profile.pause.at", Form::Duration, "When it begins.", "3s", PAUSE),
    key("pools.*.publish.profile.pause.for", Form::Duration, "How long it lasts.", "2s", PAUSE),
    key("pools.*.publish.profile.pause.every", Form::Duration, "Again and again, from beginning to beginning.", "10s", PAUSE),
    key("pools.*.publish.start", Form::Duration, "When the pool starts publishing. Left out: with the load.", "5s", &[]),
    key("pools.*.publish.stop", Form::Duration, "When it stops. Left out: with the load.", "15s", &[]),
    key("pools.*.publish.next", Form::One(&["by_schedule", "after_ack"]), "`after_ack`: a closed loop; the report says so. Left out: by_schedule.", "after_ack", &["pools.a.publish.rate="]),
    key("pools.*.publish.pause", Form::Duration, "Of a closed loop: between an ack and the next message.", "100ms", CLOSED),
    key("pools.*.publish.to", Form::OrMap(&Form::Text), "`joined` (left out): each of its own groups in turn; `random`: any of them, or of all; a group's name; `{event: NAME}`. Of servers: `everybody`, `random`, a group's name, `{user: POOL}` or `{connection: POOL}`.", "random", &[]),
    key("pools.*.publish.to.event", Form::Text, "An event for the hub's upstream.", "heartbeat", &["pools.a.publish.to={event: x}"]),
    key("pools.*.publish.to.reply", Form::One(&["none", "echo"]), "`echo`: the event's handler gives the data back; the reply is owed, judged, and measured. Left out: none.", "echo", &["pools.a.publish.to={event: x}"]),
    key("pools.*.publish.to.user", Form::Text, "Of servers: a user of this pool, drawn each time.", "b", SERVERS),
    key("pools.*.publish.to.connection", Form::Text, "Of servers: a connection of this pool, drawn each time.", "b", TO_CONNECTION),
    key("pools.*.publish.payload", Form::Map, "The data of each message.", "{type: json, size: 128B}", &[]),
    key("pools.*.publish.payload.type", Form::One(&["text", "json", "binary", "protobuf"]), "Left out: json.", "text", &[]),
    key("pools.*.publish.payload.size", Form::OrMap(&Form::Size), "Bytes of data, `{min, max}` or `{lognormal: {median, p99}}`. Left out: 128B.", "2KiB", &[]),
    key("pools.*.publish.payload.size.min", Form::Size, "Smallest.", "200B", RANGE),
    key("pools.*.publish.payload.size.max", Form::Size, "Largest.", "2KiB", RANGE),
    key("pools.*.publish.payload.size.lognormal", Form::Map, "Many small, few large.", "{median: 400B, p99: 4KiB}", &["pools.a.publish.payload={size: {}}"]),
    key("pools.*.publish.payload.size.lognormal.median", Form::Size, "Half are smaller.", "300B", LOGNORMAL),
    key("pools.*.publish.payload.size.lognormal.p99", Form::Size, "One of a hundred is larger.", "8KiB", LOGNORMAL),
    key("pools.*.publish.payload.padding", Form::One(&["zeros", "random", "unicode"]), "What fills it. Left out: random.", "unicode", &[]),
    key("pools.*.publish.ack", Form::Flag, "With an ackId, retried; else fire and forget. Left out: true.", "false", &[]),
    key("pools.*.publish.no_echo", Form::Flag, "Spare the sender its own message. Left out: false.", "true", &[]),
    key("chaos", Form::List, "The faults, each a seeded plan with a stream of its own.", "[{kind: reset, at: 5s, share: 10%}]", &[]),
    key("chaos.0.kind", Form::One(&KINDS), "What happens.", "drop", ONCE),
    key("chaos.0.stream", Form::Whole, "The number of its seed stream: an entry that names it keeps its plan when others come or go. Left out: its place in the list.", "7", ONCE),
    key("chaos.0.pool", Form::Text, "Whose clients. Left out: those of every pool.", "a", ONCE),
    key("chaos.0.at", Form::Duration, "Once, from the start of the load.", "3s", ONCE),
    key("chaos.0.start", Form::Duration, "The first time. Left out: 0s.", "1s", RESETS),
    key("chaos.0.every", Form::Duration, "Again and again.", "5s", RESETS),
    key("chaos.0.until", Form::Duration, "No more from here on. Left out: the end of the load.", "15s", RESETS),
    key("chaos.0.share", Form::Share, "To how many clients, each time.", "25%", NOBODY),
    key("chaos.0.count", Form::Whole, "Or a number of clients.", "5", NOBODY),
    key("chaos.0.zones", Form::Whole, "Or one of so many zones, drawn each time: clients that stand together.", "4", NOBODY),
    key("chaos.0.rolling", Form::Duration, "One client after the other, spread over this time. Left out: all at once.", "5s", ONCE),
    key("chaos.0.for", Form::Duration, "How long, for kinds that last.", "2s", LATENCY),
    key("chaos.0.delay", Form::Duration, "Of `latency`: added to what arrives.", "200ms", LATENCY),
    key("chaos.0.jitter", Form::Duration, "Of `latency`: up to so much more. Left out: 0s.", "50ms", LATENCY),
    key("chaos.0.rate", Form::ByteRate, "Of `throttle` (both ways) and `slow_consumer` (reading).", "10KiB/s", NARROW),
    key("chaos.0.size", Form::Size, "Of `slice`: the bytes of one write.", "16B", SLICED),
    key("chaos.0.window", Form::One(&["inside", "outside"]), "Of `recover_late`: back just inside or just outside the recovery window.", "inside", LATE),
    key("thresholds", Form::List, "Conditions on the result; any violation fails the run anyway. Each an expression, `METRIC < BOUND` or `METRIC{pool=NAME} < BOUND`, or a mapping. A count has a rate by the second of the load, `COUNT.rate >= 500/s`; of `delivery.bytes` it is `10KiB/s`.", "[delivery.p99 < 250ms]", &[]),
    key("thresholds.0.that", Form::Text, "The expression. With `over` or `abort`: a latency, a count of clients or publish, `delivery.received`, `.replays` or `.bytes`, or the rate of such a count.", "delivery.p50 < 2s", JUDGED),
    key("thresholds.0.over", Form::Duration, "In every stretch of this length during the load. Left out: over the whole run.", "10s", JUDGED),
    key("thresholds.0.abort", Form::Flag, "Missing it ends the run early. Left out: false.", "true", JUDGED),
    key("thresholds.0.grace", Form::Duration, "But not before so long into the load. Left out: 0s.", "5s", ABORTS),
];

/// Names of the kinds of faults, for the table.
const KINDS: [&str; ChaosKind::ALL.len()] = {
    let mut names = [""; ChaosKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ChaosKind::ALL[at].name();
        at += 1;
    }
    names
};

/// A scenario in which every example can stand once its `with` is set.
pub const EXAMPLE_BASE: &str = "seed: 1
duration: 20s
pools:
  a: {clients: 20, groups: {count: 4}, publish: {rate: 1/s}}
  b: {clients: 5, groups: {names: [group-1]}}
";

/// The JSON Schema (draft 2020-12) of scenario files, as text.
pub fn json_schema() -> String {
    let mut root = mapping("");
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("hubstorm scenario");
    root["required"] = json!(["pools"]);
    // A value made of maps and texts always has a JSON form.
    serde_json::to_string_pretty(&root).unwrap_or_default() + "\n"
}

/// How numbers, units of bytes and spans of time are written, as regular expressions.
const NUMBER: &str = r"([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)";
const BYTES: &str = "(B|b|kB|KB|MB|GB|KiB|MiB|GiB)";
const SPAN: &str = concat!(
    r"((([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)) *(ns|nsec|us|usec|µs|ms|msec|s|secs?|seconds?|",
    r"m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|M|months?|y|years?) *)+"
);

/// The schema of a mapping whose keys are those directly below `path`.
fn mapping(path: &str) -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        let (above, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if above == path && name != "*" {
            properties.insert(name.into(), described(key));
        }
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn described(key: &Key) -> Value {
    let mut schema = schema(key);
    schema["description"] = json!(key.says);
    schema
}

fn schema(key: &Key) -> Value {
    // Any scalar may come from the environment.
    let reference = json!({"type": "string", "pattern": r"\$\{"});
    let quantity =
        |pattern: &str| json!({"type": "string", "pattern": format!(r"\$\{{|{pattern}")});
    let value = |form| schema(&Key { form, ..*key });
    match key.form {
        Form::Map => mapping(key.path),
        Form::Names => {
            if key.path == "variants" {
                return json!({"type": "object", "additionalProperties": {"type": "object"}});
            }
            let one = mapping(&format!("{}.*", key.path));
            json!({"type": "object", "additionalProperties": one, "minProperties": 1})
        }
        Form::List => {
            let mut items = mapping(&format!("{}.0", key.path));
            if key.path == "thresholds" {
                items = json!({"anyOf": [{"type": "string"}, items]});
            }
            json!({"type": "array", "items": items})
        }
        Form::Texts => {
            let list = json!({"type": "array", "items": {"type": ["string", "number"]}});
            match key.path {
                "include" => json!({"anyOf": [{"type": "string"}, list]}),
                _ => list,
            }
        }
        Form::Text => json!({"type": ["string", "number"]}),
        Form::Whole => json!({"anyOf": [{"type": "integer", "minimum": 0}, reference]}),
        Form::Number => {
            json!({"anyOf": [{"type": "number", "minimum": 0}, quantity(&format!("^{NUMBER}%$"))]})
        }
        Form::Flag => json!({"anyOf": [{"type": "boolean"}, reference]}),
        Form::Duration => quantity(&format!("^{SPAN}$")),
        Form::Rate => quantity(&format!("^{NUMBER} */(s|sec|m|min|h)$")),
        Form::Size => quantity(&format!("^{NUMBER} *{BYTES}$")),
        Form::ByteRate => quantity(&format!("^{NUMBER} *{BYTES}/s$")),
        Form::Share => quantity(&format!("^{NUMBER} *%$")),
        Form::One(names) => json!({"anyOf": [{"enum": names}, reference]}),
        Form::WholeOr(words) => json!({"anyOf": [value(Form::Whole), {"enum": words}]}),
        Form::DurationOr(words) => json!({"anyOf": [value(Form::Duration), {"enum": words}]}),
        Form::Stay => quantity(&format!(
            r"^({SPAN}|exponential\( *{SPAN} *\)|uniform\( *{SPAN} *, *{SPAN} *\))$"
        )),
        Form::OrMap(form) => json!({"anyOf": [value(*form), mapping(key.path)]}),
    }
}

/// The reference page of the format, as Markdown.
pub fn markdown() -> String {
    let mut page = String::from(
        "# The scenario file\n\nEvery key of the format, version 1, with an example. This page is generated from the table that the JSON Schema \
(`hubstorm schema`, `scenarios/schema.json`) comes from; its examples are checked. `*` stands for a name of your own, `0` for any item of a list. \
An example is written as `--set` takes it.\n\nQuantities are written as people write them: `250ms`, `30s`, `500/s`, `12/min`, `128B`, `2KiB`, `10%`. \
`${NAME}`, `${NAME:-default}` and `${NAME:?message}` take environment variables.\n\n| key | value | meaning | example |\n| --- | --- | --- | --- |\n",
    );
    for key in KEYS {
        let form = named(key.form);
        let (path, says) = (key.path, key.says);
        let shown = path.replacen("pools.*", "pools.a", 1);
        let example = format!("`{shown}={}`", key.example);
        page.push_str(&format!("| `{path}` | {form} | {says} | {example} |\n"));
    }
    page
}

/// A form for people.
fn named(form: Form) -> String {
    match form {
        Form::Map => "mapping".to_owned(),
        Form::Names => "mapping of names".to_owned(),
        Form::List => "list".to_owned(),
        Form::Texts => "list of texts".to_owned(),
        Form::Text => "text".to_owned(),
        Form::Whole => "whole number".to_owned(),
        Form::Number => "number or %".to_owned(),
        Form::Flag => "true or false".to_owned(),
        Form::Duration => "duration".to_owned(),
        Form::Rate => "rate".to_owned(),
        Form::Size => "size".to_owned(),
        Form::Share => "share".to_owned(),
        Form::ByteRate => "size/s".to_owned(),
        Form::One(names) => names.join(", "),
        Form::WholeOr(words) => format!("whole number, or {}", words.join(", ")),
        Form::DurationOr(words) => format!("duration, or {}", words.join(", ")),
        Form::Stay => "duration or distribution".to_owned(),
        Form::OrMap(form) => format!("{}, or mapping", named(*form)),
    }
}
