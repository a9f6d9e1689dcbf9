//! The embedded hub by itself, from a program of one's own: `cargo run --example hub --
//! 127.0.0.1:8080 [--tls CERTIFICATE_OUT] [--upstream URL] [--access-key KEY] [--fault SPEC]`.

use hubstorm::base::{Clock, Seed};
use hubstorm::hub::{HubConfig, HubTls, run_foreground};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or("127.0.0.1:8080".into());
    let mut config = HubConfig::new(listen.parse()?, Seed::draw(), Clock::start());
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--tls" => {
                config.tls = Some(HubTls::SelfMade {
                    names: Vec::new(),
                    certificate_out: Some(value.into()),
                });
            }
            "--upstream" => config.upstream = Some(value.parse()?),
            "--access-key" => config.access_key = Some(value.into()),
            "--fault" => config.faults.push(value.parse()?),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(run_foreground(config, None)?)
}
