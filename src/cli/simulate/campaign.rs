//! Many runs at a time, on as many threads as wanted. What came of them is handed out in the order in which
//! they were asked for.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use simulation::{Case, CaseReport, Setup, play as play_case};

use super::{cost, outcome::Outcome, progress::Progress};

/// News that wait to be heard before those who tell must wait.
const UNHEARD: usize = 64;
/// How often plain progress is thought of.
const LOOK: Duration = Duration::from_secs(1);

/// A scenario to be run.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) cases: Vec<Case>,
}

/// All that is to be run: each case of each scenario with each seed.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scenarios: Vec<Scenario>,
    pub(super) seeds: Vec<u64>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Finished,
    /// By SIGINT.
    Interrupted,
}

/// One case with one seed.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    scenario: &'a str,
    case: &'a Case,
    seed: u64,
}

impl Run {
    /// The seeds of a case are next to each other.
    fn jobs(&self) -> Vec<Job<'_>> {
        let cases = self
            .scenarios
            .iter()
            .flat_map(|one| one.cases.iter().map(move |case| (&*one.name, case)));
        cases
            .flat_map(|(scenario, case)| {
                self.seeds.iter().map(move |seed| Job {
                    scenario,
                    case,
                    seed: *seed,
                })
            })
            .collect()
    }

    /// Which jobs each scenario has.
    fn shares(&self) -> Vec<Range<usize>> {
        let mut next = 0;
        let counts = self.scenarios.iter().map(|one| one.cases.len());
        counts
            .map(|cases| {
                let from = next;
                next += cases * self.seeds.len();
                from..next
            })
            .collect()
    }
}

/// What the threads tell; the number is that of the job.
enum News {
    Began(usize),
    At(usize, usize, Duration),
    Done(usize, Box<Done>),
    /// A defect of the simulator; what it is has been printed.
    Panicked(usize),
    Interrupted,
}

struct Done {
    report: CaseReport,
    began: Instant,
    ended: Instant,
    cpu: Option<Duration>,
}

/// Runs everything, `threads` runs at a time. `take` is given what came of each scenario, in order. The
/// threads are left to themselves if it ends early: the process is expected to end as well.
pub(super) fn play(
    run: &Arc<Run>,
    threads: usize,
    mut take: impl FnMut(Outcome) -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let jobs = run.jobs();
    let (tell, news) = mpsc::sync_channel(UNHEARD);
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..threads.min(jobs.len()) {
        let (run, next, tell) = (Arc::clone(run), Arc::clone(&next), tell.clone());
        thread::spawn(move || work(&run, &next, &tell));
    }
    watch_interrupt(tell)?;
    let mut progress = Progress::new(jobs.len());
    let mut done: Vec<Option<Done>> = jobs.iter().map(|_| None).collect();
    let mut shares = run.scenarios.iter().zip(run.shares()).peekable();
    while let Some((scenario, share)) = shares.peek() {
        // In the order of the list, whichever ends first: what is printed must not depend on the threads.
        if done[share.clone()].iter().all(Option::is_some) {
            let all = done[share.clone()].iter_mut().filter_map(Option::take);
            let outcome = outcome(&scenario.name, all.collect());
            progress.aside(|| take(outcome))?;
            shares.next();
            continue;
        }
        match listen(&news, &mut progress)? {
            News::Began(at) => {
                let Job {
                    scenario,
                    case,
                    seed,
                } = jobs[at];
                progress.begin(at, scenario, case, seed);
            }
            News::At(at, step, now) => progress.at(at, step, now),
            News::Done(at, one) => {
                progress.end(at);
                done[at] = Some(*one);
            }
            News::Panicked(at) => {
                let Job { scenario, seed, .. } = jobs[at];
                bail!("the simulator failed in {scenario} with seed {seed}");
            }
            News::Interrupted => {
                progress.interrupted();
                return Ok(Ended::Interrupted);
            }
        }
    }
    progress.clear();
    Ok(Ended::Finished)
}

fn listen(news: &Receiver<News>, progress: &mut Progress) -> anyhow::Result<News> {
    loop {
        match news.recv_timeout(LOOK) {
            Ok(one) => return Ok(one),
            Err(RecvTimeoutError::Timeout) => progress.remind(),
            Err(RecvTimeoutError::Disconnected) => bail!("all threads have ended before the runs"),
        }
    }
}

/// Takes one job after the other. There is nobody to be told that nobody listens any more.
fn work(run: &Run, next: &AtomicUsize, tell: &SyncSender<News>) {
    // Each thread makes the list for itself, because a job borrows from the run. It is the same list.
    let jobs = run.jobs();
    loop {
        // It only gives each number out once; what a run comes to travels over the channel.
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(at) else {
            return;
        };
        let _ = tell.send(News::Began(at));
        let (began, before) = (Instant::now(), cost::thread_cpu());
        // A thread that just died would leave its run under way for ever.
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut at_step = |step, _, now| {
                let _ = tell.send(News::At(at, step, now));
            };
            play_case(job.case, &Setup::default(), job.seed, &mut at_step)
        }));
        let cpu = cost::thread_cpu()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let ended = Instant::now();
        let news = played.map_or(News::Panicked(at), |report| {
            let done = Done {
                report,
                began,
                ended,
                cpu,
            };
            News::Done(at, Box::new(done))
        });
        let _ = tell.send(news);
    }
}

fn outcome(scenario: &str, all: Vec<Done>) -> Outcome {
    // From its own first run on: threads may still be busy with the scenario before.
    let began = all.iter().map(|one| one.began).min();
    let ended = all.iter().map(|one| one.ended).max();
    let elapsed = ended
        .zip(began)
        .map_or(Duration::ZERO, |(end, begin)| end - begin);
    // One run of unknown cost makes the sum unknown; a sum of the others would look like all.
    let cpu: Option<Duration> = all.iter().map(|one| one.cpu).sum();
    let cases = all.into_iter().map(|one| one.report).collect();
    Outcome::new(scenario, cases, elapsed, cpu)
}

/// Has SIGINT be told like everything else, so that nothing is printed or written by halves.
fn watch_interrupt(tell: SyncSender<News>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot watch for SIGINT")?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = tell.send(News::Interrupted);
        }
    });
    Ok(())
}
