//! Priorities, timeouts, full queues, clients that go away.

use std::collections::BTreeMap;

use super::*;

/// One instance, held; what is handed over next waits.
struct Held {
    gates: Arc<Gates>,
    fake: Arc<Fake>,
    s: Scheduler,
}

impl Held {
    fn new(policy: Policy) -> (Self, Job) {
        let gates = Arc::new(Gates::default());
        let fake = Arc::new(Fake::new().hook(gates.hook()));
        let s = scheduler(policy, &fake);
        (Self { gates, fake, s }, job(&[0]))
    }

    /// Hands over what holds the instance.
    fn hold(&self, job: Job) -> Running<'_> {
        let running = start(&self.s, job);
        self.gates.reached(1);
        running
    }

    /// What was run after the first one, when all is done.
    async fn order(&self, running: Vec<Running<'_>>) -> Vec<u32> {
        self.gates.open(1000);
        for running in running {
            running.await.unwrap();
        }
        self.fake.calls().into_iter().flatten().skip(1).collect()
    }
}

const NONE: [u32; 0] = [];

fn of(value: u32, priority: u64) -> Job {
    Job { priority, ..job(&[value]) }
}

fn within(value: u32, timeout: Duration) -> Job {
    Job { timeout: Some(timeout), ..job(&[value]) }
}

/// Requests say how long they wait; what then happens.
fn asking(action: TimeoutAction) -> QueuePolicy {
    QueuePolicy { action, allow_override: true, ..QueuePolicy::default() }
}

fn refused(e: &ServeError) -> (Code, &str) {
    (e.code, &e.message)
}

#[tokio::test]
async fn higher_priorities_first() {
    let (held, first) = Held::new(Policy { levels: 3, default_level: 2, ..Policy::default() });
    let mut running = vec![held.hold(first)];
    let jobs = [of(1, 3), of(2, 2), of(3, 1), of(4, 0), of(5, 3), of(6, 1)];
    running.extend(jobs.into_iter().map(|j| start(&held.s, j)));
    assert_eq!(held.order(running).await, [3, 6, 2, 4, 1, 5]);
}

#[tokio::test]
async fn batches_are_filled_from_lower_priorities() {
    let (held, first) = Held::new(Policy { levels: 2, default_level: 2, ..joining(3) });
    let mut running = vec![held.hold(first)];
    let jobs = [of(1, 2), of(2, 1), of(3, 2), of(4, 1), of(5, 2)];
    running.extend(jobs.into_iter().map(|j| start(&held.s, j)));
    held.order(running).await;
    assert_eq!(held.fake.calls(), [vec![0], vec![2, 4, 1], vec![3, 5]]);
}

#[tokio::test]
async fn priorities_that_there_are_not() {
    let fake = Arc::new(Fake::new().quick());
    let s = scheduler(Policy { levels: 2, default_level: 1, ..Policy::default() }, &fake);
    let e = s.run(of(1, 3)).await.unwrap_err();
    assert_eq!(
        refused(&e),
        (
            Code::InvalidArgument,
            "priority is 3, but model 'm' has the priorities 1 to 2, and 0 for its default"
        )
    );
    assert_eq!(statistics(&s).fail.count, 0);
    assert_eq!(answer(s.run(of(1, 2)).await), [3]);
    // Where there are no levels, nobody looks.
    let s = scheduler(Policy::default(), &fake);
    assert_eq!(answer(s.run(of(1, u64::MAX)).await), [3]);
}

#[tokio::test]
async fn who_waits_too_long_hears_it_at_once() {
    let timeout = Duration::from_millis(20);
    let (held, first) = Held::new(Policy { default_queue: asking(TimeoutAction::Reject), ..joining(4) });
    let first = held.hold(first);
    let began = Instant::now();
    let e = held.s.run(within(1, timeout)).await.unwrap_err();
    assert_eq!(refused(&e), (Code::Unavailable, "Request timeout expired"));
    assert!(began.elapsed() >= timeout);
    assert_eq!(held.s.pending(), 0);
    assert_eq!(held.order(vec![first]).await, NONE);
    let counts = statistics(&held.s);
    assert_eq!((counts.success.count, counts.fail.count, counts.rejected), (1, 1, 1));
    assert_eq!(counts.queue.count, 2);
    assert!(counts.fail.ns >= timeout.as_nanos() as u64);
}

#[tokio::test]
async fn who_has_waited_too_long_is_not_run() {
    let (held, first) = Held::new(Policy { default_queue: asking(TimeoutAction::Reject), ..joining(4) });
    let first = held.hold(first);
    // Nobody polls them when their time is over, as on a machine that is too busy.
    let timeout = Duration::from_millis(20);
    let rest =
        [start(&held.s, within(1, timeout)), start(&held.s, job(&[2])), start(&held.s, within(3, timeout))];
    std::thread::sleep(timeout);
    held.gates.open(2);
    first.await.unwrap();
    let [second, third, fourth] = rest;
    assert_eq!(answer(third.await), [5]);
    for late in [second, fourth] {
        let e = late.await.unwrap_err();
        assert_eq!(refused(&e), (Code::Unavailable, "Request timeout expired"));
    }
    assert_eq!(held.fake.calls(), [[0], [2]]);
    assert_eq!(statistics(&held.s).rejected, 2);
}

#[tokio::test]
async fn who_may_be_late_goes_last() {
    let timeout = Duration::from_millis(10);
    let default_queue = asking(TimeoutAction::Delay);
    let (held, first) = Held::new(Policy { levels: 2, default_level: 1, default_queue, ..Policy::default() });
    let mut running = vec![held.hold(first)];
    running.extend((1..=2).map(|i| start(&held.s, within(i, timeout))));
    std::thread::sleep(timeout);
    running.extend([of(3, 2), of(4, 1), of(5, 1)].into_iter().map(|j| start(&held.s, j)));
    // The two late ones come after those of their level and before those of the next.
    assert_eq!(held.order(running).await, [4, 5, 1, 2, 3]);
    assert_eq!(statistics(&held.s).fail.count, 0);
}

#[tokio::test]
async fn who_is_late_fills_a_batch() {
    let timeout = Duration::from_millis(10);
    let (held, first) = Held::new(Policy { default_queue: asking(TimeoutAction::Delay), ..joining(3) });
    let mut running = vec![held.hold(first)];
    running.extend((1..=3).map(|i| start(&held.s, within(i, timeout))));
    std::thread::sleep(timeout);
    running.push(start(&held.s, job(&[4])));
    held.order(running).await;
    assert_eq!(held.fake.calls(), [vec![0], vec![4, 1, 2], vec![3]]);
}

#[tokio::test]
async fn requests_name_shorter_times_where_they_may() {
    let short = Duration::from_millis(10);
    let policy = |allow_override, timeout| Policy {
        default_queue: QueuePolicy { allow_override, timeout, ..QueuePolicy::default() },
        ..Policy::default()
    };
    for timeout in [None, Some(LONG)] {
        let (held, first) = Held::new(policy(true, timeout));
        let first = held.hold(first);
        let e = held.s.run(within(1, short)).await.unwrap_err();
        assert_eq!(e.code, Code::Unavailable);
        assert_eq!(held.order(vec![first]).await, NONE);
    }
    // Where they may not, and for longer ones, it is the policy's; 0 says nothing.
    for (allow, timeout, asked) in [
        (false, None, short),
        (true, None, Duration::ZERO),
        (true, None, Duration::MAX),
        (true, Some(Duration::MAX), Duration::from_micros(u64::MAX)),
        (false, Some(Duration::from_micros(u64::MAX)), short),
    ] {
        let (held, first) = Held::new(policy(allow, timeout));
        let running = vec![held.hold(first), start(&held.s, within(1, asked))];
        std::thread::sleep(short * 2);
        assert_eq!(held.order(running).await, [1]);
    }
    // A longer one than the policy's is not granted.
    let queues = BTreeMap::from([(
        2,
        QueuePolicy { allow_override: true, timeout: Some(short), ..QueuePolicy::default() },
    )]);
    let (held, first) = Held::new(Policy { levels: 2, default_level: 1, queues, ..Policy::default() });
    let first = held.hold(first);
    let e = held.s.run(Job { priority: 2, ..within(1, LONG) }).await.unwrap_err();
    assert_eq!(e.code, Code::Unavailable);
    assert_eq!(held.order(vec![first]).await, NONE);
}

#[tokio::test]
async fn full_queues_refuse() {
    let queues = BTreeMap::from([(2, QueuePolicy { max_size: 3, ..QueuePolicy::default() })]);
    let default_queue = QueuePolicy { max_size: 1, ..QueuePolicy::default() };
    let policy = Policy { levels: 2, default_level: 1, default_queue, queues, ..Policy::default() };
    let (held, first) = Held::new(policy);
    let mut running = vec![held.hold(first)];
    running.push(start(&held.s, of(1, 1)));
    running.extend((2..5).map(|i| start(&held.s, of(i, 2))));
    for level in [1, 2] {
        let e = held.s.run(of(9, level)).await.unwrap_err();
        assert_eq!(refused(&e), (Code::Unavailable, "Exceeds maximum queue size"));
    }
    // Who goes makes room.
    drop(running.pop());
    running.push(start(&held.s, of(5, 2)));
    assert_eq!(held.s.run(of(9, 2)).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(held.order(running).await, [1, 2, 3, 5]);
    let counts = statistics(&held.s);
    assert_eq!((counts.success.count, counts.rejected, counts.cancelled, counts.fail.count), (5, 3, 1, 4));
    assert_eq!(counts.queue.count, 6);
}

#[tokio::test]
async fn a_free_instance_is_room() {
    let default_queue = QueuePolicy { max_size: 1, ..QueuePolicy::default() };
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(Policy { default_queue, instances: 2, ..Policy::default() }, &fake);
    // Two for the instances, which may not have looked yet, and one to wait.
    let running: Vec<_> = (0..3).map(|i| start(&s, job(&[i]))).collect();
    gates.reached(2);
    assert_eq!(s.run(job(&[9])).await.unwrap_err().code, Code::Unavailable);
    gates.open(3);
    for running in running {
        running.await.unwrap();
    }
}

#[tokio::test]
async fn who_goes_is_not_run() {
    let (held, first) = Held::new(joining(4));
    let mut running = vec![held.hold(first)];
    let gone = start(&held.s, job(&[1]));
    running.push(start(&held.s, job(&[2])));
    assert_eq!(held.s.pending(), 2);
    drop(gone);
    assert_eq!(held.s.pending(), 1);
    assert_eq!(held.order(running).await, [2]);
    let counts = statistics(&held.s);
    assert_eq!((counts.success.count, counts.fail.count, counts.cancelled), (2, 1, 1));
}

#[tokio::test]
async fn who_goes_while_it_runs_harms_nobody() {
    let (held, first) = Held::new(joining(4));
    drop(held.hold(first));
    let running = vec![start(&held.s, job(&[1]))];
    assert_eq!(statistics(&held.s).cancelled, 1);
    assert_eq!(held.order(running).await, [1]);
    let counts = statistics(&held.s);
    assert_eq!((counts.success.count, counts.fail.count), (1, 1));
    assert_eq!(counts.execution_count, 2);
}

#[tokio::test]
async fn who_is_late_may_still_go() {
    let timeout = Duration::from_millis(10);
    let (held, first) =
        Held::new(Policy { default_queue: asking(TimeoutAction::Delay), ..Policy::default() });
    let first = held.hold(first);
    let (late, second) = (start(&held.s, within(1, timeout)), start(&held.s, job(&[2])));
    std::thread::sleep(timeout);
    held.gates.open(1);
    first.await.unwrap();
    // The second one runs, as the one before it was found to be late.
    held.gates.reached(2);
    assert_eq!(held.s.pending(), 1);
    drop(late);
    assert_eq!(held.s.pending(), 0);
    assert_eq!(held.order(vec![second]).await, [2]);
}

#[tokio::test]
async fn threads_end_with_the_scheduler() {
    let fake = Arc::new(Fake::new());
    let s = scheduler(Policy { instances: 2, ..Policy::default() }, &fake);
    let running = [start(&s, job(&[1])), start(&s, job(&[2]))];
    for running in running {
        running.await.unwrap();
    }
    let core = Arc::downgrade(&s.0);
    assert!(core.strong_count() > 1);
    drop(s);
    until(|| core.strong_count() == 0);
    assert_eq!(Arc::strong_count(&fake), 1);
}
