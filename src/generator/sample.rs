//! One look at this process through procfs, about 0.1 ms each, once a second.
//!
//! Linux only. Where /proc is not readable a [`Sampler`] cannot be made, and the run goes
//! on with its lags alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use procfs::process::{LimitValue, Process};
use procfs::{CurrentSI, ProcError};

use crate::base::Time;

/// A thread that used so much of a core had no time left.
pub const THREAD_BUSY_CORES: f64 = 0.98;
/// Threads shown, and the least CPU time of one that is, s.
const THREADS_MAX: usize = 16;
const THREAD_CPU_MIN_S: f64 = 0.01;
/// Threads remembered, ended ones included; more are counted only.
const THREADS_SEEN_MAX: u64 = 1024;

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
    /// Cores that the busiest thread used on average since the sample before: 1 is all that
    /// a thread can use.
    pub busiest_cores: f64,
    /// TCP segments that this machine sent again since the first sample, all processes.
    pub tcp_retransmits: u64,
    /// When the process started, s since the Unix epoch.
    pub start_time_s: f64,
}

/// What one thread used.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ThreadUse {
    /// Its name, as the system shows it (cut to 15 characters).
    pub name: String,
    /// CPU time, s.
    pub cpu_s: f64,
    /// The most cores that it used on average between two samples.
    pub peak_cores: f64,
}

#[derive(Debug, Default)]
struct ThreadSeen {
    run_delay_ns: u64,
    cpu_ns: u64,
    usage: ThreadUse,
}

/// Takes samples of this process and keeps what needs two of them.
#[derive(Debug)]
pub struct Sampler {
    process: Process,
    cores_allowed: f64,
    fds_max: u64,
    start_time_s: f64,
    last: Option<Sample>,
    /// Threads by id, ended ones too: they must not take their share along.
    threads: HashMap<i32, ThreadSeen>,
    run_delay_ns: u64,
    /// Samples, and those of them in which one thread used all that a thread can.
    seconds: u64,
    seconds_busy: u64,
    retransmits_before: Option<u64>,
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
            threads: HashMap::new(),
            run_delay_ns: 0,
            seconds: 0,
            seconds_busy: 0,
            retransmits_before: retransmits(),
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
        // `stat` has what each core has not yet added up in it: hundreds of KiB either way.
        let status = self.process.status()?;
        let rss_bytes = status.vmrss.unwrap_or(0) * 1024;
        let peak_kib = status.vmhwm.unwrap_or(0);
        let fds = self.process.fd_count()? as u64;
        self.fds_peak = self.fds_peak.max(fds);
        let seconds = self.last.map(|last| now.since(last.at).as_secs_f64());
        let (threads, busiest_cores) = self.add_threads(seconds.filter(|s| *s > 0.0))?;
        let tcp_retransmits = match (self.retransmits_before, retransmits()) {
            (Some(before), Some(sent)) => sent.saturating_sub(before),
            _ => 0,
        };
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
            busiest_cores,
            tcp_retransmits,
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

    /// What each thread used, those that did little left out, the busiest first.
    pub fn threads(&self) -> Vec<ThreadUse> {
        let mut threads: Vec<_> = self
            .threads
            .values()
            .map(|thread| thread.usage.clone())
            .filter(|thread| thread.cpu_s >= THREAD_CPU_MIN_S)
            .collect();
        threads.sort_by(|a, b| b.cpu_s.total_cmp(&a.cpu_s));
        threads.truncate(THREADS_MAX);
        threads
    }

    /// How many samples there were, and in how many of them a thread used a whole core.
    pub fn busy(&self) -> (u64, u64) {
        (self.seconds, self.seconds_busy)
    }

    /// Adds what every thread used and waited since the last sample, `seconds` ago; returns
    /// the number of threads and the cores that the busiest used.
    fn add_threads(&mut self, seconds: Option<f64>) -> Result<(u64, f64), ProcError> {
        let (mut count, mut busiest) = (0, 0.0_f64);
        for task in self.process.tasks()?.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = task.schedstat() else {
                continue;
            };
            count += 1;
            let thread = match self.threads.entry(task.tid) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) if count < THREADS_SEEN_MAX => {
                    let name = task.stat().map(|stat| stat.comm).unwrap_or_default();
                    let usage = ThreadUse {
                        name,
                        ..ThreadUse::default()
                    };
                    new.insert(ThreadSeen {
                        usage,
                        ..ThreadSeen::default()
                    })
                }
                Entry::Vacant(_) => continue,
            };
            self.run_delay_ns += schedstat.run_delay.saturating_sub(thread.run_delay_ns);
            thread.run_delay_ns = schedstat.run_delay;
            let used = schedstat.sum_exec_runtime.saturating_sub(thread.cpu_ns);
            thread.cpu_ns = schedstat.sum_exec_runtime;
            thread.usage.cpu_s = thread.cpu_ns as f64 / 1e9;
            if let Some(seconds) = seconds {
                let cores = used as f64 / 1e9 / seconds;
                thread.usage.peak_cores = thread.usage.peak_cores.max(cores);
                busiest = busiest.max(cores);
            }
        }
        self.seconds += u64::from(seconds.is_some());
        self.seconds_busy += u64::from(busiest >= THREAD_BUSY_CORES);
        Ok((count, busiest))
    }
}

/// TCP segments that the machine sent again since it started, if it says so.
fn retransmits() -> Option<u64> {
    procfs::net::snmp().ok().map(|snmp| snmp.tcp_retrans_segs)
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
            // procfs counts CPU time in ticks of 10 ms. It may be that of threads that have
            // ended since, so one that lives must have used some, too.
            if sample.cpu_s >= first.cpu_s + 0.02 && !sampler.threads().is_empty() {
                break sample;
            }
        };
        assert!(sum != 1);
        assert!(busy.rss_bytes > 100_000 && busy.peak_rss_bytes >= busy.rss_bytes);
        assert!(busy.fds >= 1 && busy.fds_max >= busy.fds && sampler.fds_peak() >= busy.fds);
        assert!(busy.threads >= 1 && busy.start_time_s > 1.7e9);
        // This test's own thread is among those that used time.
        let threads = sampler.threads();
        assert!(threads.iter().any(|t| t.cpu_s >= 0.01), "{threads:?}");
        assert!(threads.iter().all(|t| !t.name.is_empty()));
        drop(file);
    }
}
