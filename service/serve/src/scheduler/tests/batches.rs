//! Which requests run together, and where.

use super::*;

#[tokio::test]
async fn a_quick_one_runs_where_it_is() {
    let fake = Arc::new(Fake::new().quick());
    let s = scheduler(joining(8), &fake);
    assert_eq!(answer(s.run(job(&[1, 2])).await), [3, 5]);
    assert_eq!(s.0.state().threads, 0);
    let counts = statistics(&s);
    assert_eq!((counts.success.count, counts.inference_count, counts.execution_count), (1, 2, 1));
    for one in [counts.queue, counts.compute_input, counts.compute_infer, counts.compute_output] {
        assert_eq!(one.count, 1);
    }
    assert_eq!(counts.batches.len(), 1);
    assert_eq!((counts.batches[0].batch_size, counts.batches[0].compute_infer.count), (2, 1));
}

#[tokio::test]
async fn another_one_runs_on_an_instance() {
    let fake = Arc::new(Fake::new().quick_to(1));
    let s = scheduler(joining(8), &fake);
    assert_eq!(answer(s.run(job(&[1, 2])).await), [3, 5]);
    assert_eq!(s.0.state().threads, 1);
    assert_eq!(statistics(&s).success.count, 1);
    assert_eq!(answer(s.run(job(&[7])).await), [15]);
    assert_eq!(fake.calls(), [vec![1, 2], vec![7]]);
}

#[tokio::test]
async fn quick_ones_queue_where_the_policy_says_so() {
    let ordered = Batching { preserve_ordering: true, ..Batching::default() };
    let policies = [
        Policy { execution_timeout: Some(LONG), ..joining(8) },
        Policy { batching: Some(ordered), instances: 2, ..joining(8) },
        delayed(8, Duration::from_millis(1)),
    ];
    for policy in policies {
        let fake = Arc::new(Fake::new().quick());
        let s = scheduler(policy, &fake);
        assert_eq!(answer(s.run(job(&[1])).await), [3]);
        assert_eq!(s.0.state().threads, 1, "{:?}", s.0.policy);
    }
    // A full batch has nothing to wait for, and one of a preferred size neither.
    let preferred = Batching { delay: LONG, preferred: vec![2, 5], ..Batching::default() };
    for policy in [delayed(3, LONG), Policy { batching: Some(preferred), ..joining(8) }] {
        let fake = Arc::new(Fake::new().quick());
        let s = scheduler(policy, &fake);
        assert_eq!(answer(s.run(job(&[1, 2, 3])).await), [3, 5, 7]);
        assert_eq!(s.0.state().threads, 0, "{:?}", s.0.policy);
    }
}

#[tokio::test]
async fn a_quick_one_does_not_overtake() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().quick_to(1).hook(gates.hook()));
    let s = scheduler(Policy::default(), &fake);
    let slow = start(&s, job(&[1, 2]));
    gates.reached(1);
    // The instance is busy; then somebody waits.
    let quick = [start(&s, job(&[3])), start(&s, job(&[4]))];
    assert_eq!(s.pending(), 2);
    gates.open(3);
    assert_eq!(answer(slow.await), [3, 5]);
    for (running, value) in quick.into_iter().zip([3, 4]) {
        assert_eq!(answer(running.await), results(&[value]));
    }
    assert_eq!(fake.calls(), [vec![1, 2], vec![3], vec![4]]);
}

#[tokio::test]
async fn a_full_one_does_not_overtake() {
    let fake = Arc::new(Fake::new().quick());
    let s = scheduler(delayed(4, LONG), &fake);
    let waits = start(&s, job(&[1]));
    let full = start(&s, job(&[2, 3, 4, 5]));
    assert_eq!(answer(full.await), results(&[2, 3, 4, 5]));
    assert_eq!(answer(waits.await), [3]);
    assert_eq!(fake.calls(), [vec![1], vec![2, 3, 4, 5]]);
}

#[tokio::test]
async fn who_waits_for_a_quick_one_is_woken() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().quick_to(1).hook(gates.hook()));
    let s = scheduler(joining(4), &fake);
    std::thread::scope(|scope| {
        // It runs on this thread, which holds the place.
        scope.spawn(|| assert_eq!(poll(&mut start(&s, job(&[1]))).map(answer), Some(vec![3])));
        gates.reached(1);
        let mut slow = start(&s, job(&[2, 3]));
        until(|| s.0.state().idle == 1);
        assert!(poll(&mut slow).is_none());
        gates.open(2);
        until(|| poll(&mut slow).map(answer) == Some(vec![5, 7]));
    });
    assert_eq!(fake.calls(), [vec![1], vec![2, 3]]);
}

#[tokio::test]
async fn what_a_batch_leaves_behind_has_an_instance_too() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(Policy { instances: 2, ..delayed(8, Duration::from_millis(30)) }, &fake);
    // They cannot be one batch, and the second one found the first one's instance waiting.
    let running = [start(&s, wide(&[1])), start(&s, wide(&[2, 3]))];
    gates.reached(2);
    gates.open(2);
    for (running, values) in running.into_iter().zip([&[1][..], &[2, 3]]) {
        assert_eq!(answer(running.await), results(values));
    }
}

#[tokio::test]
async fn what_waits_is_joined_and_taken_apart() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(joining(4), &fake);
    let first = start(&s, job(&[0]));
    gates.reached(1);
    let jobs: [&[u32]; 5] = [&[1], &[2, 3], &[4], &[5, 6], &[7]];
    let rest: Vec<_> = jobs.iter().map(|j| start(&s, job(j))).collect();
    assert_eq!(s.pending(), 5);
    gates.open(3);
    assert_eq!(answer(first.await), [1]);
    let mut outputs = Vec::new();
    for (running, values) in rest.into_iter().zip(jobs) {
        let done = running.await.unwrap();
        assert_eq!(answer(Ok(done.clone())), results(values));
        outputs.push(done.outputs[0].clone());
    }
    assert_eq!(fake.calls(), [vec![0], vec![1, 2, 3, 4], vec![5, 6, 7]]);
    // The answers of a batch are parts of its one output.
    let address = |i: usize| outputs[i].data().as_ptr() as usize;
    assert_eq!([address(1) - address(0), address(2) - address(1)], [4, 8]);
    assert_eq!(s.pending(), 0);
    let counts = statistics(&s);
    assert_eq!((counts.success.count, counts.inference_count, counts.execution_count), (6, 8, 3));
    assert_eq!((counts.queue.count, counts.compute_infer.count), (6, 6));
    let sizes: Vec<_> = counts.batches.iter().map(|b| (b.batch_size, b.compute_infer.count)).collect();
    assert_eq!(sizes, [(1, 1), (3, 1), (4, 1)]);
    // Each request of a batch counts with the whole batch's time.
    let by_size: u64 = counts.batches.iter().zip([1, 2, 3]).map(|(b, n)| b.compute_infer.ns * n).sum();
    assert_eq!(counts.compute_infer.ns, by_size);
    assert_eq!(counts.latency.counts.iter().sum::<u64>(), 6);
}

#[tokio::test]
async fn a_lonely_request_is_not_copied() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for quick in [0, 1] {
        let note = Arc::clone(&seen);
        let fake = Arc::new(Fake::new().quick_to(quick).hook(move |inputs| {
            note.lock().unwrap().push(inputs[0].data().as_ptr() as usize);
            Ok(())
        }));
        let s = scheduler(joining(8), &fake);
        let job = job(&[1]);
        let address = job.inputs[0].fetch("x").unwrap().data().as_ptr() as usize;
        s.run(job).await.unwrap();
        assert_eq!(seen.lock().unwrap().pop(), Some(address));
    }
}

#[tokio::test]
async fn what_lies_elsewhere_is_joined_and_what_is_gone_fails_alone() {
    let of = |value: u32, gone: Option<bool>| {
        let here = buffer(&[1, 1], [value]);
        let input = gone.map_or_else(|| here.clone().into(), |gone| remote(&here, gone));
        Job { inputs: vec![input], ..job(&[value]) }
    };
    for (second, calls) in [(false, vec![vec![0], vec![1, 2, 3]]), (true, vec![vec![0], vec![1], vec![3]])] {
        let gates = Arc::new(Gates::default());
        let fake = Arc::new(Fake::new().hook(gates.hook()));
        let s = scheduler(joining(8), &fake);
        let first = start(&s, job(&[0]));
        gates.reached(1);
        let jobs = [of(1, Some(false)), of(2, Some(second)), of(3, None)];
        let running = jobs.map(|job| start(&s, job));
        gates.open(4);
        answer(first.await);
        for (i, running) in (1..).zip(running) {
            match running.await {
                Ok(done) => assert_eq!(values(&done.outputs[0]), results(&[i])),
                Err(e) => {
                    let text = "input 'x' cannot be read: it is gone";
                    assert_eq!((e.code, e.message.as_str()), (Code::InvalidArgument, text));
                    assert!(second && i == 2);
                }
            }
        }
        assert_eq!(fake.calls(), calls);
    }
}

#[tokio::test]
async fn without_batching_each_is_alone() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(Policy { max_batch: 4, ..Policy::default() }, &fake);
    let running: Vec<_> = (0..3).map(|i| start(&s, job(&[i]))).collect();
    gates.open(3);
    for (i, running) in (0..).zip(running) {
        assert_eq!(answer(running.await), results(&[i]));
    }
    assert_eq!(fake.calls(), [vec![0], vec![1], vec![2]]);
}

#[tokio::test]
async fn models_without_a_batch_axis() {
    let gates = Arc::new(Gates::default());
    // The limit is of rows, which there are none of.
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let runners = vec![fake.runner("fake", "cpu")];
    let s = Scheduler::new("m", joining(4), false, runners, Arc::default());
    let of = |values: &[u32]| Job { rows: 1, ..job(values) };
    let running = [start(&s, of(&[1, 2, 3])), start(&s, of(&[4, 5, 6])), start(&s, of(&[]))];
    gates.open(3);
    let [a, b, c] = running;
    assert_eq!((answer(a.await), answer(b.await), answer(c.await)), (vec![3, 5, 7], vec![9, 11, 13], vec![]));
    assert_eq!(fake.calls().len(), 3);
    let counts = statistics(&s);
    assert_eq!((counts.inference_count, counts.execution_count), (3, 3));
    assert_eq!(counts.batches.iter().map(|b| b.batch_size).collect::<Vec<_>>(), [1]);
}

/// A job of one row of several values.
fn wide(values: &[u32]) -> Job {
    Job {
        inputs: vec![buffer(&[1, values.len()], values.iter().copied()).into()],
        rows: 1,
        priority: 0,
        timeout: None,
    }
}

#[tokio::test]
async fn other_shapes_are_not_joined_and_may_be_overtaken() {
    for (preserve_ordering, calls) in [
        (false, vec![vec![0], vec![1, 4], vec![2, 3, 5, 6]]),
        (true, vec![vec![0], vec![1], vec![2, 3], vec![4], vec![5, 6]]),
    ] {
        let gates = Arc::new(Gates::default());
        let fake = Arc::new(Fake::new().hook(gates.hook()));
        let batching = Batching { preserve_ordering, ..Batching::default() };
        let s = scheduler(Policy { batching: Some(batching), ..joining(8) }, &fake);
        let mut running = vec![start(&s, wide(&[0]))];
        gates.reached(1);
        let jobs: [&[u32]; 4] = [&[1], &[2, 3], &[4], &[5, 6]];
        running.extend(jobs.iter().map(|j| start(&s, wide(j))));
        gates.open(5);
        for (running, values) in running.into_iter().zip([&[0][..]].into_iter().chain(jobs)) {
            assert_eq!(answer(running.await), results(values));
        }
        assert_eq!(fake.calls(), calls);
    }
}

#[tokio::test]
async fn preferred_sizes_go_first() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let batching = Batching { preferred: vec![2, 4], ..Batching::default() };
    let s = scheduler(Policy { batching: Some(batching), ..joining(16) }, &fake);
    let mut running = vec![start(&s, job(&[0]))];
    gates.reached(1);
    running.extend((1..=7).map(|i| start(&s, job(&[i]))));
    gates.open(8);
    for (i, running) in (0..).zip(running) {
        assert_eq!(answer(running.await), results(&[i]));
    }
    assert_eq!(fake.calls(), [vec![0], vec![1, 2, 3, 4], vec![5, 6], vec![7]]);
}

#[tokio::test]
async fn a_preferred_size_does_not_wait_and_others_do() {
    let fake = Arc::new(Fake::new());
    let batching = Batching { delay: LONG * 60, preferred: vec![4], ..Batching::default() };
    let s = scheduler(Policy { batching: Some(batching), ..joining(16) }, &fake);
    let mut running: Vec<_> = (0..3).map(|i| start(&s, job(&[i]))).collect();
    until(|| s.0.state().idle == 1);
    assert_eq!(s.pending(), 3);
    running.push(start(&s, job(&[3])));
    for (i, running) in (0..).zip(running) {
        assert_eq!(answer(running.await), results(&[i]));
    }
    // More than any preferred size does not wait either.
    let running = [start(&s, job(&[1, 2, 3])), start(&s, job(&[4, 5, 6]))];
    for running in running {
        running.await.unwrap();
    }
    assert_eq!(fake.calls(), [vec![0, 1, 2, 3], vec![1, 2, 3, 4, 5, 6]]);
}

#[tokio::test]
async fn the_delay_ends() {
    let fake = Arc::new(Fake::new().quick());
    let delay = Duration::from_millis(30);
    let s = scheduler(delayed(8, delay), &fake);
    let began = Instant::now();
    assert_eq!(answer(s.run(job(&[1])).await), [3]);
    assert!(began.elapsed() >= delay);
    assert!(statistics(&s).queue.ns >= delay.as_nanos() as u64);
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let fake = Arc::new(Fake::new());
    let s = scheduler(delayed(4, Duration::MAX), &fake);
    let running = [start(&s, job(&[1, 2, 3])), start(&s, job(&[4, 5]))];
    // The second one does not fit; now the first one is as full as it gets.
    let [first, mut second] = running;
    assert_eq!(answer(first.await), [3, 5, 7]);
    assert!(poll(&mut second).is_none());
    let third = start(&s, job(&[6, 7]));
    assert_eq!((answer(second.await), answer(third.await)), (vec![9, 11], vec![13, 15]));
    assert_eq!(fake.calls(), [vec![1, 2, 3], vec![4, 5, 6, 7]]);
}

#[tokio::test]
async fn more_rows_than_a_call_takes() {
    for (rows, sizes, counted) in [
        (7, vec![3, 3, 1], vec![(1, 1), (3, 2)]),
        (6, vec![3, 3], vec![(3, 2)]),
        (3, vec![3], vec![(3, 1)]),
        (1, vec![1], vec![(1, 1)]),
        (0, vec![0], vec![(0, 1)]),
    ] {
        for quick in [Fake::new(), Fake::new().quick()] {
            let fake = Arc::new(quick.max_rows(3));
            let s = scheduler(joining(8), &fake);
            let values: Vec<u32> = (0..rows).collect();
            assert_eq!(answer(s.run(job(&values)).await), results(&values));
            assert_eq!(fake.calls().iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            let counts = statistics(&s);
            assert_eq!(counts.inference_count, u64::from(rows));
            assert_eq!(counts.execution_count, sizes.len() as u64);
            let found: Vec<_> =
                counts.batches.iter().map(|b| (b.batch_size, b.compute_infer.count)).collect();
            assert_eq!(found, counted);
        }
    }
}

#[tokio::test]
async fn no_rows_among_others() {
    let gates = Arc::new(Gates::default());
    let fake = Arc::new(Fake::new().hook(gates.hook()));
    let s = scheduler(joining(4), &fake);
    let jobs: [&[u32]; 4] = [&[9], &[], &[1, 2], &[]];
    let mut running = vec![start(&s, job(jobs[0]))];
    gates.reached(1);
    running.extend(jobs[1..].iter().map(|j| start(&s, job(j))));
    gates.open(2);
    for (running, values) in running.into_iter().zip(jobs) {
        assert_eq!(answer(running.await), results(values));
    }
    assert_eq!(fake.calls(), [vec![9], vec![1, 2]]);
}

#[tokio::test]
async fn as_many_instances_as_asked_for() {
    for (instances, concurrency, expected) in [(2, 1, 2), (0, 3, 3), (0, usize::MAX, 4)] {
        let gates = Arc::new(Gates::default());
        let fake = Arc::new(Fake::new().concurrency(concurrency).hook(gates.hook()));
        let s = scheduler(Policy { instances, ..Policy::default() }, &fake);
        let running: Vec<_> = (0..4).map(|i| start(&s, job(&[i]))).collect();
        gates.reached(expected);
        assert_eq!(s.pending(), 4 - expected);
        gates.open(4);
        for running in running {
            running.await.unwrap();
        }
        assert!(s.0.state().threads <= expected);
    }
}

#[tokio::test]
async fn answers_leave_in_order_where_asked_for() {
    for preserve_ordering in [true, false] {
        let gates = Arc::new(Gates::default());
        let hold = gates.hook();
        // Only the first one is held.
        let fake =
            Fake::new().hook(move |inputs| if values(&inputs[0]) == [0] { hold(inputs) } else { Ok(()) });
        let batching = Batching { preserve_ordering, ..Batching::default() };
        let policy = Policy { batching: Some(batching), instances: 2, ..joining(1) };
        let fake = Arc::new(fake);
        let s = scheduler(policy, &fake);
        let mut first = start(&s, job(&[0]));
        gates.reached(1);
        let mut second = start(&s, job(&[1]));
        let mut third = start(&s, job(&[2]));
        // Both have been run, and their thread has nothing left to do.
        until(|| s.0.gate.waiting() == 0 && s.0.state().idle == 1);
        let early = (poll(&mut second).is_some(), poll(&mut third).is_some());
        assert_eq!(early, (!preserve_ordering, !preserve_ordering));
        assert!(poll(&mut first).is_none());
        gates.open(1);
        assert_eq!(answer(first.await), [1]);
        if preserve_ordering {
            assert_eq!((answer(second.await), answer(third.await)), (vec![3], vec![5]));
        }
    }
}
