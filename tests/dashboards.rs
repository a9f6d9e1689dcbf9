//! The dashboards show what the program exports, all of it, and nothing that does not exist.
//!
//! Without a Grafana the look cannot be tested; shape, names and answers can. The ignored
//! test asks a real Prometheus that has scraped a run: `.ci/run` starts one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use hubstorm::exporter::names;
use prometheus::proto::MetricType;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// Every dashboard with its file name.
fn dashboards() -> Vec<(String, Value)> {
    let found: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    assert!(!found.is_empty(), "no dashboard in {:?}", folder());
    found
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).unwrap()
}

/// Every query of a dashboard with the panel, variable or annotation it belongs to.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in list(dashboard, "/panels") {
        let title = panel["title"].as_str().unwrap();
        if panel["type"] != "row" {
            for target in list(panel, "/targets") {
                queries.push((title.into(), target["expr"].as_str().unwrap().into()));
            }
        }
    }
    for annotation in list(dashboard, "/annotations/list") {
        let name = annotation["name"].as_str().unwrap();
        queries.push((name.into(), annotation["expr"].as_str().unwrap().into()));
    }
    queries
}

/// The metric names in a query.
fn metrics_in(query: &str) -> BTreeSet<&str> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("hubstorm_") || word.starts_with("process_"))
        .collect()
}

/// The metric of the table that a series name belongs to.
fn metric_of(series: &str) -> Option<names::Metric> {
    names::ALL.iter().copied().find(|metric| {
        let suffix = series.strip_prefix(metric.name);
        match metric.kind {
            MetricType::HISTOGRAM => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            _ => suffix == Some(""),
        }
    })
}

#[test]
fn every_metric_of_a_query_exists() {
    for (file, dashboard) in dashboards() {
        let mut variables = Vec::new();
        for variable in list(&dashboard, "/templating/list") {
            if let Some(query) = variable.pointer("/query/query") {
                variables.push(("variable".to_owned(), query.as_str().unwrap().to_owned()));
            }
        }
        for (place, query) in queries(&dashboard).into_iter().chain(variables) {
            let metrics = metrics_in(&query);
            assert!(!metrics.is_empty(), "{file}: {place}: no metric in {query}");
            for series in metrics {
                assert!(metric_of(series).is_some(), "{file}: {place}: {series}");
            }
        }
    }
    let alerts = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let in_rules = metrics_in(&alerts);
    assert!(in_rules.len() >= 5, "{in_rules:?}");
    for series in in_rules {
        assert!(metric_of(series).is_some(), "alerts.yml: {series}");
    }
}

#[test]
fn every_metric_is_on_some_panel() {
    let dashboards = dashboards();
    let queries: Vec<_> = dashboards.iter().flat_map(|(_, d)| queries(d)).collect();
    let shown: BTreeSet<_> = queries
        .iter()
        .flat_map(|(_, query)| metrics_in(query))
        .filter_map(|series| metric_of(series).map(|metric| metric.name))
        .collect();
    let hidden: Vec<_> = names::ALL
        .iter()
        .filter(|metric| !shown.contains(metric.name))
        .map(|metric| metric.name)
        .collect();
    assert!(hidden.is_empty(), "on no panel: {hidden:?}");
}

#[test]
fn panels_are_told_apart_explained_and_do_not_overlap() {
    for (file, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in list(&dashboard, "/panels") {
            let title = panel["title"].as_str().unwrap();
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{file}: id of {title}"
            );
            assert!(
                at("x") + at("w") <= 24,
                "{file}: {title} is wider than the page"
            );
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(cells.insert((x, y)), "{file}: {title} overlaps at {x},{y}");
                }
            }
            if panel["type"] != "row" {
                let description = panel["description"].as_str().unwrap_or("");
                assert!(description.len() > 20, "{file}: {title} is not explained");
                let refs: BTreeSet<_> = list(panel, "/targets")
                    .iter()
                    .map(|target| target["refId"].as_str().unwrap())
                    .collect();
                assert_eq!(refs.len(), list(panel, "/targets").len(), "{file}: {title}");
            }
        }
    }
}

#[test]
fn the_same_file_can_be_imported_and_provisioned() {
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        assert!(
            dashboard["id"].is_null() && dashboard["uid"].is_string(),
            "{file}"
        );
        assert!(
            dashboard.get("__inputs").is_none(),
            "{file}: only import resolves it"
        );
        let mut sources = Vec::new();
        for panel in list(&dashboard, "/panels") {
            if panel["type"] != "row" {
                sources.push(&panel["datasource"]);
                sources.extend(list(panel, "/targets").iter().map(|t| &t["datasource"]));
            }
        }
        for place in ["/annotations/list", "/templating/list"] {
            let named = list(&dashboard, place).iter();
            sources.extend(
                named
                    .filter(|v| v["type"] != "datasource")
                    .map(|v| &v["datasource"]),
            );
        }
        for source in sources {
            assert_eq!(
                source["uid"], "${datasource}",
                "{file}: a fixed data source"
            );
        }
    }
}

/// Quantiles that have no value unless a client had to open a new connection, or events have
/// replies; only NaN is right for these in other runs.
const MAY_BE_NAN: [&str; 2] = [
    "hubstorm_reconnect_duration_seconds",
    "hubstorm_reply_latency_seconds",
];

/// Asks Prometheus; the path must be encoded.
fn get(server: &str, path: &str) -> Value {
    let addr = server.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A query as Grafana would send it with every variable at "All".
fn substituted(query: &str) -> String {
    query
        .replace("$__rate_interval", "4s")
        .replace("$__range", "60s")
        .replace("$__interval", "2s")
        .replace("$instance", ".*")
        .replace("$pool", ".*")
        .replace("$run", ".*")
}

#[test]
#[ignore = "needs a Prometheus that has scraped a run: HUBSTORM_PROMETHEUS=http://127.0.0.1:9090"]
fn every_query_answers_with_data() {
    let server = std::env::var("HUBSTORM_PROMETHEUS").expect("HUBSTORM_PROMETHEUS is not set");
    let time = get(&server, "/api/v1/query?query=time()");
    let now = time["data"]["result"][0].as_f64().unwrap();
    for (file, dashboard) in dashboards() {
        for (place, query) in queries(&dashboard) {
            let asked = substituted(&query);
            assert!(
                !asked.contains('$'),
                "{file}: {place}: unknown variable in {query}"
            );
            let range = format!("&start={}&end={now}&step=1", now - 300.0);
            let answer = get(
                &server,
                &format!("/api/v1/query_range?query={}{range}", encoded(&asked)),
            );
            let series = list(&answer, "/data/result");
            // No violation is what a good run shows, and what is known at the end is not there
            // before; Prometheus must still take the query.
            let at_the_end = names::AT_THE_END.iter().any(|m| query.contains(m.name));
            let may_be_empty = at_the_end || place == "Violations" && query.contains("> 0");
            assert!(
                may_be_empty || !series.is_empty(),
                "{file}: {place}: no data: {asked}"
            );
            let finite = series.iter().any(|series| {
                list(series, "/values").iter().any(|point| {
                    let value: f64 = point[1].as_str().unwrap().parse().unwrap();
                    value.is_finite()
                })
            });
            assert!(
                finite || may_be_empty || MAY_BE_NAN.iter().any(|name| query.contains(name)),
                "{file}: {place}: only NaN: {asked}"
            );
        }
        for variable in list(&dashboard, "/templating/list") {
            let Some(query) = variable.pointer("/query/query").and_then(Value::as_str) else {
                continue;
            };
            let inner = query
                .trim_start_matches("label_values(")
                .trim_end_matches(')');
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let selector = encoded(&substituted(selector));
            let values = get(
                &server,
                &format!("/api/v1/label/{label}/values?match%5B%5D={selector}"),
            );
            assert!(
                !list(&values, "/data").is_empty(),
                "{file}: no value for ${label}"
            );
        }
    }
}
