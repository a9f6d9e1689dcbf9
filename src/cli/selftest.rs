//! `hubstorm selftest`: shows that the verifier names every lie of a hub, and nothing else.

use crate::selftest::{self, Options};

use super::args::SelftestArgs;
use super::{EXIT_USAGE, complain, logging};

pub(super) fn selftest(args: SelftestArgs) -> u8 {
    logging::start(args.log);
    let out = args.out.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("hubstorm-selftest-{}", std::process::id()))
    });
    let options = Options {
        short: args.short,
        churn: args.churn,
        seed: args.seed,
        only: args.only,
        at_once: args.at_once,
        out,
        set: args.set,
    };
    match selftest::selftest(&options, &mut std::io::stdout().lock()) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}
