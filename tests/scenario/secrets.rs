//! Secrets are used and never shown.

use hubstorm::scenario::{self, Overrides, TargetSpec};
use secrecy::{ExposeSecret, SecretString};

use proptest::prelude::*;

use super::{no_env, parse};

const KEY: &str = "hushHUSHhush0123456789+/=";

/// Reads a text whose variable KEY is the secret.
fn with_key(text: &str) -> Result<scenario::Scenario, scenario::Diagnostics> {
    let env = |name: &str| (name == "KEY").then(|| KEY.to_owned());
    scenario::parse(text, "test.yaml", &Overrides::default(), &env)
}

const TARGETS: [&str; 6] = [
    "{endpoint: 'http://h', access_key: ${KEY}}",
    "{endpoint: 'http://h', access_key: 'hushHUSHhush0123456789+/='}",
    "{connection_string: 'Endpoint=http://h;AccessKey=${KEY};Version=1.0;', hub: x}",
    "{connection_string: 'Endpoint=http://h;AccessKey=hushHUSHhush0123456789+/=', hub: x}",
    "{client_access_url: 'wss://h/client/hubs/x?access_token=${KEY}'}",
    "{client_access_url: 'wss://h/client/hubs/x?access_token=hushHUSHhush0123456789+/='}",
];

#[test]
fn secrets_arrive_and_are_not_in_debug_or_yaml() {
    for target in TARGETS {
        let text = format!("target: {target}\npools: {{a: {{clients: 1}}}}\n");
        let scenario = with_key(&text).unwrap_or_else(|wrong| panic!("{target}: {wrong}"));
        let used = match &scenario.target {
            TargetSpec::Endpoint {
                access_key: Some(key),
                ..
            } => key,
            TargetSpec::ConnectionString { value, .. } => value,
            TargetSpec::ClientAccessUrl(url) => url,
            other => panic!("{other:?}"),
        };
        assert!(used.expose_secret().contains(KEY), "{target}");
        let debug = format!("{scenario:?}");
        assert!(!debug.contains("hush"), "{debug}");
        let yaml = scenario::to_yaml(&scenario);
        assert!(!yaml.contains("hush") && yaml.contains("***"), "{yaml}");
        // Masked, it is still a scenario.
        let again = parse(&yaml).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(scenario::to_yaml(&again), yaml);
    }
}

#[test]
fn a_user_and_password_are_masked_too() {
    let text =
        "target: {client_access_url: 'wss://me:hush@h/client?a=b'}\npools: {a: {clients: 1}}";
    let yaml = scenario::to_yaml(&parse(text).unwrap());
    assert!(yaml.contains("wss://h/client?a=***"), "{yaml}");
}

#[test]
fn no_mistake_shows_a_secret() {
    let wrong = [
        // Mistakes on the line of a secret, in every shape that people write.
        "{endpoint: 'http://h', acces_key: hush, hubb: x}",
        "{endpoint: 'http://hush:hush@h', access_key: hush}",
        "{endpoint: 'http://h/?access_token=hush'}",
        "{endpoint: 'gopher:', access_key: [hush, hush]}",
        "{endpoint: h, access_key: {x: hush}, connection_string: hush}",
        "{connection_string: 'AccessKey=hush', client_access_url: hush}",
        "{connection_string: 'Endpoint=hush;AccessKey=hush'}",
        "Endpoint=http://h;AccessKey=hush",
        "hush://hush:hush@h",
        "{endpoint: 'http://h', access_key: hush",
        "\n  access_key: |\n    hush\n    hush\n  endpoint: 7\n  hub: 1",
        "\n  access_key: \"hush\n    hush: ]\n   hush",
        "{endpoint: 'http://h', access_key: hush, access_key: hush}",
        "\n  access_key: hush\n  access_key: hush\n",
        "{hub: '1', access_key: *hush}",
    ];
    for target in wrong {
        let text = format!("target: {target}\naccess_key: hush\npools: {{a: {{clients: 0}}}}\n");
        let told = parse(&text).unwrap_err().to_string();
        // An alias is a name, not a value.
        assert!(!told.replace("*hush", "").contains("hush"), "{told}");
        assert!(told.contains("test.yaml:"), "{told}");
    }
}

#[test]
fn no_flag_s_mistake_shows_a_secret() {
    let told = |overrides: &Overrides| {
        let debug = format!("{overrides:?}");
        assert!(!debug.contains("hush"), "{debug}");
        let text = "pools: {a: {clients: 0}}";
        scenario::parse(text, "test.yaml", overrides, &no_env)
            .unwrap_err()
            .to_string()
    };
    for set in [
        "target.access_key=hush",
        "target.acces_key=hush",
        "target={endpoint: 1, access_key: hush}",
        "target={endpoint: 1, access_key: hush",
        "target.connection_string=Endpoint=hush;AccessKey=hush",
        "target.access_key=[hush",
        "target.endpoint=http://hush:hush@h",
        "access_key.hush: ",
    ] {
        let overrides = Overrides {
            set: vec![set.into()],
            ..Overrides::default()
        };
        let told = told(&overrides).replace("access_key.hush", "");
        assert!(!told.contains("hush"), "{set}: {told}");
    }
    for (target, connection_string) in [
        (Some("hush://h?access_token=hush"), None),
        (Some("http://h?hush"), None),
        (None, Some("AccessKey=hush")),
        (None, Some("hush")),
    ] {
        let overrides = Overrides {
            target: target.map(SecretString::from),
            connection_string: connection_string.map(SecretString::from),
            ..Overrides::default()
        };
        let told = told(&overrides);
        assert!(!told.contains("hush"), "{told}");
        assert!(told.contains("--target:1:1:") || told.contains("--connection-string:1:1:"));
    }
}

#[test]
fn no_value_of_the_environment_is_in_a_mistake() {
    let env = |_: &str| Some("hush".to_owned());
    let text = "
name: ${A} ${A}
seed: ${A}
duration: x${A}
drain: ${A}
hubstorm: ${A}
verify: {mode: ${A}, promise: ${A}, memory: ${A}}
target: {endpoint: ${A}, hub: 1${A}}
pools:
  a:
    clients: ${A}
    protocol: ${A}
    connect: ${A}
    groups: {count: ${A}, join: ${A}}
    publish: {rate: ${A}, to: ${A}, arrivals: ${A}, payload: {type: ${A}, size: ${A}}, ack: ${A}}
  b: {clients: 1, groups: {names: [${A}, ${A}], join: ${A}}, publish: ${A}}
chaos:
  - {kind: ${A}, pool: ${A}, at: ${A}, count: ${A}, for: ${A}}
  - ${A}
thresholds: ['${A} < 5', 'ack.p99 < ${A}', 'ack.p99 ${A}', '${A}']
";
    let wrong = scenario::parse(text, "test.yaml", &Overrides::default(), &env).unwrap_err();
    assert!(wrong.list.len() >= 25, "{wrong}");
    assert!(!wrong.to_string().contains("hush"), "{wrong}");
}

#[test]
fn an_anchor_before_the_key_does_not_make_the_secret_a_name() {
    let text = "pools: {a: {clients: 1}}\ntarget: {endpoint: 'http://h', &access_key: \"hushhush\", hub: 1x}\n";
    let told = parse(text).unwrap_err().to_string();
    assert!(!told.contains("hushhush"), "{told}");
    assert!(told.contains("an anchor or a tag before a key"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever else is typed wrong, a secret behind its key stays hidden.
    #[test]
    fn a_slip_beside_a_secret_does_not_show_it(at in 0usize..400, put in "[ -~\n\t]{1,3}", which in 0usize..3) {
        let target = [
            "\n  endpoint: http://h\n  access_key: hushhush\n  hub: 1x",
            "{endpoint: 'http://h', access_key: \"hushhush\", hub: 1x}",
            "\n  connection_string: Endpoint=http://h;AccessKey=hushhush;Version=1.0;\n  hub: 1x",
        ][which];
        let text = format!("name: a\ntarget: {target}\npools:\n  a: {{clients: 0}}\n");
        let at = at % text.len();
        // Inside the key's name or the secret itself the slip makes it something else.
        let key = text.find("access_key").or(text.find("connection_string")).unwrap();
        let secret = text.find("hushhush").unwrap();
        prop_assume!(!(key < at && at < secret + 8));
        let text = format!("{}{put}{}", &text[..at], &text[at..]);
        if let Err(wrong) = parse(&text) {
            prop_assert!(!wrong.to_string().contains("hush"), "{wrong}");
        }
    }
}
