//! What things cost, as the forecast counts. Rounded from `hubstorm bench-self --only
//! prices`, which measures each of them again and prints it beside the number here.
//!
//! Measured on 23 November 2026, two cores (AMD EPYC, virtual), Linux 6.18, loopback;
//! `docs/performance.md` has the table.

/// One price.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Price {
    /// What it is the price of.
    pub name: &'static str,
    /// The unit: `us`, `us/s` (of CPU time), `KiB` or `B`.
    pub unit: &'static str,
    /// How much, in that unit.
    pub value: f64,
}

macro_rules! prices {
    ($($id:ident: $value:literal $unit:literal $name:literal;)*) => {
        $(
            #[doc = concat!("The price of ", $name, ", ", $unit, ".")]
            pub const $id: f64 = $value;
        )*
        /// All of them.
        pub const ALL: [Price; [$(stringify!($id)),*].len()] = [$(Price { name: $name, unit: $unit, value: $id }),*];
    };
}

prices! {
    DELIVERY: 5.2 "us" "a delivery, when reads bring one frame";
    DELIVERY_MANY: 1.9 "us" "a delivery, when reads bring many";
    COLD: 1.0 "us" "what 9,000 clients instead of 1,000 add to a delivery and to a receipt";
    RECEIPT: 6.4 "us" "a receipt that leaves alone";
    PUBLISH: 15.0 "us" "a publish with its answer, up to 5,000/s";
    PUBLISH_MANY: 6.5 "us" "a publish with its answer, at 12,000/s";
    IDLE: 1.2 "us/s" "a client that is joined";
    PROCESS_CPU: 22000.0 "us/s" "a process without clients";
    CONNECT: 50.0 "us" "a connect with its join";
    TLS_CONNECT: 150.0 "us" "what TLS adds to a connect";
    HUB_DELIVERY: 10.5 "us" "the embedded hub, for a delivery and its part of a receipt";
    HUB_DELIVERY_MANY: 5.3 "us" "the same at 70,000 deliveries/s";
    PROCESS: 15800.0 "KiB" "memory of a process without clients";
    CLIENT: 3.6 "KiB" "memory of a client, joined";
    TLS_CLIENT: 8.6 "KiB" "what TLS adds to that";
    HUB_CLIENT: 1.9 "KiB" "what the embedded hub adds to that";
    VERIFIED: 14.0 "KiB" "what the verifier holds for a client, recorders full";
    PAIR: 82.0 "B" "what the verifier holds for a pair of publisher and receiver";
    KERNEL: 9.3 "KiB" "kernel memory of a connection, both ends";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page whose prices are not the program's misleads who sizes a machine by it.
    #[test]
    fn the_cost_model_of_the_page_is_the_programs() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/performance.md")).unwrap();
        let (_, model) = page.split_once("## Cost model").unwrap();
        let rows: Vec<&str> = model
            .lines()
            .skip_while(|line| !line.starts_with("| --- |"))
            .skip(1)
            .take_while(|line| line.starts_with("| "))
            .collect();
        assert_eq!(
            rows.len(),
            ALL.len(),
            "a price without a row, or the reverse"
        );
        for (row, price) in rows.iter().zip(&ALL) {
            let says = format!("| {} | {} {} |", price.name, price.value, price.unit);
            assert!(row.starts_with(&says), "{row}\nbut the program has\n{says}");
        }
    }
}
