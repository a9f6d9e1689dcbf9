//! `hubstorm hub`: the embedded hub by itself.

use crate::base::{Clock, Seed};
use crate::hub::{self, FaultKind, HubConfig, HubTls};

use super::args::{HubArgs, is_exposed};
use super::{EXIT_USAGE, complain, start_logging};

pub(super) fn hub(args: HubArgs) -> u8 {
    if args.list_faults {
        for kind in FaultKind::ALL {
            println!("{:<28} {}", kind.name(), kind.explanation());
        }
        return 0;
    }
    if is_exposed(args.listen) && !args.expose {
        complain(&format!(
            "{} can be reached from other machines: say --expose if that is wanted",
            args.listen
        ));
        return EXIT_USAGE;
    }
    start_logging(args.log);
    let mut config = HubConfig::new(args.listen, Seed(args.seed), Clock::start());
    config.access_key = args.access_key;
    config.faults = args.fault;
    config.upstream = args.upstream;
    config.tls = match (args.tls_cert, args.tls_key, args.tls_self_signed) {
        (Some(certificate), Some(key), _) => Some(HubTls::Files { certificate, key }),
        (_, _, Some(file)) => Some(HubTls::SelfMade {
            names: Vec::new(),
            certificate_out: Some(file),
        }),
        _ => None,
    };
    match hub::run_foreground(config, args.truth) {
        Ok(()) => 0,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}
