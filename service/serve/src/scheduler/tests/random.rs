//! Nothing is lost, mixed up or done twice, whatever comes and whenever.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    task,
};

use proptest::prelude::*;

use super::{values as values_of, *};

/// A request of a scenario.
#[derive(Debug, Clone)]
struct Plan {
    rows: usize,
    width: usize,
    priority: u64,
    /// Turns until it comes, and until its client goes away.
    comes: usize,
    goes: Option<usize>,
    /// Whether one of its rows is wrong.
    wrong: bool,
}

#[derive(Debug, Clone)]
struct Scenario {
    policy: Policy,
    max_rows: Option<usize>,
    quick: usize,
    /// Each so many calls of the first backend, one fails.
    failing: Option<usize>,
    /// Whether there is another one, which does not fail.
    second: bool,
    requests: Vec<Plan>,
}

/// Rows from here on are wrong.
const WRONG_FROM: u32 = 1 << 31;

fn batching() -> impl Strategy<Value = Batching> {
    let delay = prop_oneof![Just(0u64), Just(50), Just(400)].prop_map(Duration::from_micros);
    let preferred = proptest::collection::btree_set(1usize..7, 0..3);
    (delay, preferred, any::<bool>()).prop_map(|(delay, preferred, preserve_ordering)| Batching {
        delay,
        preferred: preferred.into_iter().collect(),
        preserve_ordering,
    })
}

prop_compose! {
    fn policy()(
        max_batch in 1usize..8,
        batching in proptest::option::weighted(0.8, batching()),
        levels in 0u64..3,
        instances in 0usize..4,
        limited in proptest::bool::weighted(0.2),
    ) -> Policy {
        Policy {
            max_batch,
            batching,
            levels,
            default_level: levels.min(1),
            instances,
            execution_timeout: limited.then_some(LONG),
            ..Policy::default()
        }
    }
}

prop_compose! {
    fn plan(most: usize, levels: u64)(
        rows in 0..=most,
        width in prop_oneof![3 => Just(1usize), 1 => Just(2)],
        priority in 0..=levels,
        comes in 0usize..30,
        goes in proptest::option::weighted(0.2, 0usize..40),
        wrong in proptest::bool::weighted(0.1),
    ) -> Plan {
        Plan { rows, width, priority, comes, goes, wrong: wrong && rows > 0 }
    }
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let rest = (
        proptest::option::of(1usize..6),
        0usize..4,
        proptest::option::weighted(0.3, 2usize..9),
        any::<bool>(),
    );
    (policy(), rest).prop_flat_map(|(policy, (max_rows, quick, failing, second))| {
        let requests = proptest::collection::vec(plan(policy.max_batch, policy.levels), 1..60);
        requests.prop_map(move |requests| Scenario {
            policy: policy.clone(),
            max_rows,
            quick,
            failing,
            second,
            requests,
        })
    })
}

/// Lets others go first so many times.
async fn turns(mut count: usize) {
    std::future::poll_fn(|cx| {
        if count == 0 {
            return task::Poll::Ready(());
        }
        count -= 1;
        cx.waker().wake_by_ref();
        task::Poll::Pending
    })
    .await;
}

/// What became of a request; `None`: its client went away.
type Outcome = Option<Result<Done, ServeError>>;

async fn client(s: Arc<Scheduler>, plan: Plan, job: Job) -> Outcome {
    turns(plan.comes).await;
    let gone = async {
        match plan.goes {
            Some(count) => turns(count).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = s.run(job) => Some(answer),
        () = gone => None,
    }
}

/// The rows of each request, each row of its own number.
fn numbered(requests: &[Plan]) -> Vec<Vec<u32>> {
    let mut next = 0;
    let mut one = |plan: &Plan| {
        let mut values: Vec<u32> = (next..).take(plan.rows * plan.width).collect();
        next += values.len() as u32;
        if plan.wrong {
            values[plan.rows - 1] |= WRONG_FROM;
        }
        values
    };
    requests.iter().map(&mut one).collect()
}

fn run(scenario: &Scenario, values: &[Vec<u32>]) -> (Arc<Scheduler>, Vec<Outcome>, [Arc<Fake>; 2]) {
    let fake = |failing: Option<usize>| {
        let calls = AtomicUsize::new(0);
        let fake = Fake::new().quick_to(scenario.quick).concurrency(2).hook(move |inputs| {
            let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
            if failing.is_some_and(|every| call.is_multiple_of(every)) {
                return Err(failure("one of many"));
            }
            let values = values_of(&inputs[0]);
            match values.iter().position(|v| *v >= WRONG_FROM) {
                Some(at) => Err(nan(at / inputs[0].shape()[1])),
                None => Ok(()),
            }
        });
        Arc::new(match scenario.max_rows {
            Some(rows) => fake.max_rows(rows),
            None => fake,
        })
    };
    let fakes = [fake(scenario.failing), fake(None)];
    let mut runners = vec![fakes[0].runner("first", "cpu")];
    if scenario.second {
        runners.push(fakes[1].runner("second", "cpu"));
    }
    let s = Arc::new(Scheduler::new("m", scenario.policy.clone(), true, runners, Arc::default()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let outcomes = runtime.block_on(async {
        let clients: Vec<_> = scenario
            .requests
            .iter()
            .zip(values)
            .map(|(plan, values)| {
                let input = buffer(&[plan.rows, plan.width], values.iter().copied());
                let elsewhere = values.len() % 2 == 1;
                let inputs = vec![if elsewhere { remote(&input, false) } else { input.into() }];
                let job = Job { inputs, rows: plan.rows, priority: plan.priority, timeout: None };
                tokio::spawn(client(Arc::clone(&s), plan.clone(), job))
            })
            .collect();
        let mut outcomes = Vec::new();
        for client in clients {
            outcomes.push(tokio::time::timeout(LONG, client).await.expect("an answer").unwrap());
        }
        outcomes
    });
    until(|| s.0.gate.free() == s.0.instances);
    (s, outcomes, fakes)
}

/// A few in every run; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 96, ..default },
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_gets_its_own_rows(scenario in scenario()) {
        let values = numbered(&scenario.requests);
        let (s, outcomes, fakes) = run(&scenario, &values);
        let sure = scenario.failing.is_none() || scenario.second;

        for ((plan, values), outcome) in scenario.requests.iter().zip(&values).zip(&outcomes) {
            match outcome {
                None => prop_assert!(plan.goes.is_some()),
                Some(Ok(done)) => {
                    prop_assert!(!plan.wrong);
                    prop_assert_eq!(done.outputs[0].shape(), [plan.rows, plan.width]);
                    prop_assert_eq!(values_of(&done.outputs[0]), results(values));
                }
                Some(Err(e)) if e.code == Code::InvalidArgument => {
                    let row = values.iter().position(|v| *v >= WRONG_FROM).unwrap() / plan.width;
                    prop_assert!(e.message.contains(&format!("row {row},")), "{}", e);
                }
                Some(Err(e)) => {
                    prop_assert!(!sure, "{}", e);
                    prop_assert_eq!(e.code, Code::Internal);
                }
            }
        }

        // Who is in a call, and how often each row was run.
        let mut width = BTreeMap::new();
        for (plan, values) in scenario.requests.iter().zip(&values) {
            width.extend(values.iter().map(|v| (*v, plan.width)));
        }
        let mut runs: BTreeMap<u32, usize> = BTreeMap::new();
        let most = scenario.policy.max_batch.min(scenario.max_rows.unwrap_or(usize::MAX));
        for call in fakes.iter().flat_map(|f| f.calls()) {
            if let Some(first) = call.first() {
                prop_assert!(call.iter().all(|v| width[v] == width[first]), "{:?}", call);
                prop_assert!(call.len() / width[first] <= most, "{:?}", call);
            }
            call.iter().for_each(|v| *runs.entry(*v).or_default() += 1);
        }
        let peaceful = scenario.failing.is_none() && !scenario.requests.iter().any(|p| p.wrong);
        for (values, outcome) in values.iter().zip(&outcomes) {
            for v in values {
                let count = runs.get(v).copied().unwrap_or(0);
                match outcome {
                    Some(Ok(_)) => prop_assert!(count >= 1 && (count == 1 || !peaceful)),
                    _ => prop_assert!(count <= 1 || !peaceful),
                }
            }
        }

        let counts = statistics(&s);
        let of = |f: fn(&Outcome) -> bool| outcomes.iter().filter(|o| f(o)).count() as u64;
        prop_assert_eq!(counts.success.count, of(|o| matches!(o, Some(Ok(_)))));
        prop_assert_eq!(counts.cancelled, of(Option::is_none));
        prop_assert_eq!(counts.fail.count, of(|o| !matches!(o, Some(Ok(_)))));
        let reasons = counts.rejected + counts.cancelled + counts.backend_failures + counts.other_failures;
        prop_assert_eq!(counts.fail.count, reasons);
        prop_assert_eq!(counts.queue.count, outcomes.len() as u64);
        prop_assert_eq!(counts.latency.counts.iter().sum::<u64>(), counts.success.count);
        prop_assert!(counts.compute_infer.count >= counts.success.count);
        prop_assert_eq!(counts.pending, 0);
        prop_assert_eq!(s.0.state().queue.rows(), 0);
    }
}

/// Many clients on many threads, some impatient: each is answered, and nothing is left behind.
#[test]
fn many_clients_at_once() {
    const CLIENTS: u32 = 48;
    const REQUESTS: u32 = 400;
    for (instances, delay) in [(1, 0), (2, 0), (2, 100)] {
        let fake = Arc::new(Fake::new().quick_to(1));
        let policy = Policy { instances, ..delayed(8, Duration::from_micros(delay)) };
        let s = Arc::new(scheduler(policy, &fake));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let answered: u64 = runtime.block_on(async {
            let one = |client: u32| {
                let s = Arc::clone(&s);
                async move {
                    let mut answered = 0;
                    for i in 0..REQUESTS {
                        let first = (client * REQUESTS + i) * 4;
                        let values: Vec<u32> = (first..first + 1 + i % 3).collect();
                        let patience = if i % 7 == 0 { (i % 5) as usize } else { usize::MAX };
                        tokio::select! {
                            biased;
                            done = s.run(job(&values)) => {
                                assert_eq!(answer(done), results(&values));
                                answered += 1;
                            }
                            () = turns(patience), if patience < usize::MAX => {}
                        }
                    }
                    answered
                }
            };
            let clients: Vec<_> = (0..CLIENTS).map(|c| tokio::spawn(one(c))).collect();
            let mut answered = 0;
            for client in clients {
                answered += tokio::time::timeout(LONG, client).await.expect("an answer").unwrap();
            }
            answered
        });
        until(|| s.0.gate.free() == instances);
        let counts = statistics(&s);
        assert_eq!(counts.success.count, answered);
        assert_eq!(counts.success.count + counts.cancelled, u64::from(CLIENTS * REQUESTS));
        assert_eq!((counts.pending, counts.fail.count), (0, counts.cancelled));
    }
}

/// More than there is room for: each is answered or refused, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload() {
    const ROOM: usize = 10;
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let default_queue = QueuePolicy { max_size: ROOM, ..QueuePolicy::default() };
    let s = Arc::new(scheduler(Policy { default_queue, ..joining(4) }, &fake));
    let first = tokio::spawn(client_of(Arc::clone(&s), 0));
    gates.reached(1);
    let clients: Vec<_> = (1..=1000).map(|i| tokio::spawn(client_of(Arc::clone(&s), i))).collect();
    // Nobody is let through before all others have been refused.
    until(|| statistics(&s).rejected == 1000 - ROOM as u64);
    assert_eq!(s.pending(), ROOM);
    gates.open(100);
    assert_eq!(answer(first.await.unwrap()), [1]);
    let mut answered = 0;
    for (i, client) in (1..).zip(clients) {
        match client.await.unwrap() {
            Ok(done) => {
                assert_eq!(answer(Ok(done)), results(&[i]));
                answered += 1;
            }
            Err(e) => assert_eq!(e.code, Code::Unavailable),
        }
    }
    assert_eq!(answered, ROOM);
}

async fn client_of(s: Arc<Scheduler>, value: u32) -> Result<Done, ServeError> {
    s.run(job(&[value])).await
}
