//! `hubstorm hub`: the embedded hub by itself.

use crate::base::{Clock, Seed};
use crate::hub::{self, EventHandler, FaultKind, HubConfig, HubTls};

use super::args::{Events, HubArgs, is_exposed};
use super::{EXIT_USAGE, complain, logging};

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
    logging::start(args.log);
    let mut config = HubConfig::new(args.listen, Seed(args.seed), Clock::start());
    config.access_key = args.access_key;
    config.secondary_access_key = args.secondary_access_key;
    config.allow_anonymous = args.allow_anonymous;
    config.keep_alive = args.keep_alive;
    config.max_connections = args.max_connections.map(|most| most as usize);
    config.faults = args.fault;
    config.recovery_window = args.recovery_window;
    config.upstream = args.upstream;
    config.system_events = args.system_events;
    config.event_handler = match args.events {
        Events::Echo => EventHandler::Echo,
        Events::None => EventHandler::None,
    };
    config.tls = match (args.tls_cert, args.tls_key, args.tls_self_signed) {
        (Some(certificate), Some(key), _) => Some(HubTls::Files { certificate, key }),
        (_, _, Some(path)) => Some(HubTls::SelfMade {
            names: Vec::new(),
            certificate_out: Some(path),
        }),
        (_, _, None) => None,
    };
    match hub::run_foreground(config, args.truth) {
        Ok(()) => 0,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}
