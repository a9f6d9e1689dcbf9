//! One look at this process through procfs, about 0.1 ms each, once a second.
//!
//! Linux only. Where /proc is not readable a [`Sampler`] cannot be made, and the run goes
//! on with its lags alone.

use std::collections::HashMap;

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};
use procfs::{CurrentSI, ProcError};

use crate::base::Time;

/// What the process used, at one moment. Totals are since the process started.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// CPU time of all threads, user and system, s.
    pub cpu_s: f64,
    /// Cores used on average since the sample before.
    pub cpu_cores: f64,
    /// Cores this process may use (affinity and cgroup quota).
    pub cores_allowed: f64,
    /// Time that threads were ready to run and waited for a core, all threads, s.
    pub run_delay_s: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// The most resident memory so far, bytes.
    pub peak_rss_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Open files.
    pub fds: u64,
    /// The soft limit of open files.
    pub fds_max: u64,
    /// Threads.
    pub threads: u64,
    /// When the process started, s since the Unix epoch.
    pub start_time_s: f64,
}

/// Takes samples of this process and keeps what needs two of them.
#[derive(Debug)]
pub struct Sampler {
    process: Process,
    cores_allowed: f64,
    fds_max: u64,
    start_time_s: f64,
    last: Option<Sample>,
    /// Run delay last seen per thread, ns: a thread that ends must not take its share along.
    delays: HashMap<i32, u64>,
    run_delay_ns: u64,
    fds_peak: u64,
}

impl Sampler {
    /// A sampler of this process.
    ///
    /// # Errors
    /// There is no procfs, or it cannot be read: the run may go on without samples.
    pub fn new() -> Result<Self, ProcError> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let boot_s = procfs::KernelStats::current()?.btime as f64;
        let start_time_s = boot_s + stat.starttime as f64 / procfs::ticks_per_second() as f64;
        let mut sampler = Sampler {
            process,
            cores_allowed: std::thread::available_parallelism()
                .map_or(1.0, |cores| cores.get() as f64),
            fds_max: 0,
            start_time_s,
            last: None,
            delays: HashMap::new(),
            run_delay_ns: 0,
            fds_peak: 0,
        };
        sampler.refresh_limit()?;
        Ok(sampler)
    }

    /// Reads the limit of open files again, after it was raised.
    ///
    /// # Errors
    /// procfs cannot be read.
    pub fn refresh_limit(&mut self) -> Result<(), ProcError> {
        self.fds_max = match self.process.limits()?.max_open_files.soft_limit {
            LimitValue::Unlimited => u64::MAX,
            LimitValue::Value(limit) => limit,
        };
        Ok(())
    }

    /// Looks at the process now.
    ///
    /// # Errors
    /// procfs cannot be read; the last sample stays what it was.
    pub fn sample(&mut self, now: Time) -> Result<Sample, ProcError> {
        let stat = self.process.stat()?;
        let cpu_s = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        let rss_bytes = stat.rss_bytes().get();
        let peak_kib = self.process.status()?.vmhwm.unwrap_or(0);
        let fds = self.process.fd_count()? as u64;
        self.fds_peak = self.fds_peak.max(fds);
        let threads = self.add_run_delays()?;
        let cpu_cores = self.last.map_or(0.0, |last| {
            let seconds = now.since(last.at).as_secs_f64();
            if seconds > 0.0 {
                (cpu_s - last.cpu_s).max(0.0) / seconds
            } else {
                last.cpu_cores
            }
        });
        let sample = Sample {
            at: now,
            cpu_s,
            cpu_cores,
            cores_allowed: self.cores_allowed,
            run_delay_s: self.run_delay_ns as f64 / 1e9,
            rss_bytes,
            peak_rss_bytes: (peak_kib * 1024).max(rss_bytes),
            virtual_bytes: stat.vsize,
            fds,
            fds_max: self.fds_max,
            threads,
            start_time_s: self.start_time_s,
        };
        self.last = Some(sample);
        Ok(sample)
    }

    /// The last sample, if one was taken.
    pub fn last(&self) -> Option<&Sample> {
        self.last.as_ref()
    }

    /// The most files seen open in any sample.
    pub fn fds_peak(&self) -> u64 {
        self.fds_peak
    }

    /// Adds what every thread waited since the last sample; returns the number of threads.
    fn add_run_delays(&mut self) -> Result<u64, ProcError> {
        let mut seen = HashMap::with_capacity(self.delays.len());
        for task in self.process.tasks()?.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = task.schedstat() else {
                continue;
            };
            let before = self.delays.get(&task.tid).copied().unwrap_or(0);
            self.run_delay_ns += schedstat.run_delay.saturating_sub(before);
            seen.insert(task.tid, schedstat.run_delay);
        }
        self.delays = seen;
        Ok(self.delays.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_shows_its_cpu_time_and_its_files() {
        let mut sampler = Sampler::new().unwrap();
        let first = sampler.sample(Time::ZERO).unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let mut sum = 0_u64;
        let busy = loop {
            sum = (0..1_000_000).fold(sum, |sum, n: u64| sum.wrapping_mul(31).wrapping_add(n));
            let sample = sampler.sample(Time::from_secs(1)).unwrap();
            // procfs counts CPU time in ticks of 10 ms.
            if sample.cpu_s >= first.cpu_s + 0.02 {
                break sample;
            }
        };
        assert!(sum != 1);
        assert!(busy.rss_bytes > 100_000 && busy.peak_rss_bytes >= busy.rss_bytes);
        assert!(busy.fds >= 1 && busy.fds_max >= busy.fds && sampler.fds_peak() >= busy.fds);
        assert!(busy.threads >= 1 && busy.start_time_s > 1.7e9);
        drop(file);
    }
}
