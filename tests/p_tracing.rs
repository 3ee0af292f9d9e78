//! What `tracing` sees: a subscriber for the whole process, so a test binary of its own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use overstrand::{Priority, SequencedTaskRunner, ThreadPool};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[derive(Default)]
struct Seen {
    spans: Vec<(u64, BTreeMap<String, String>)>,
    causes: Vec<(u64, u64)>,
    events: Vec<(Level, String)>,
    entered: Vec<u64>,
}

/// Notes everything.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
}

thread_local! {
    static CURRENT: std::cell::Cell<Option<(u64, &'static Metadata<'static>)>> = const { std::cell::Cell::new(None) };
}

impl Recorder {
    fn with<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.0.lock().expect("no panic"))
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        fields.0.insert("span".into(), span.metadata().name().into());
        CURRENT.set(Some((0, span.metadata())));
        self.with(|seen| {
            let id = seen.spans.len() as u64 + 1;
            seen.spans.push((id, fields.0));
            Id::from_u64(id)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.with(|seen| seen.causes.push((span.into_u64(), follows.into_u64())));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        self.with(|seen| seen.events.push((*event.metadata().level(), message)));
    }

    fn enter(&self, span: &Id) {
        if let Some((_, metadata)) = CURRENT.get() {
            CURRENT.set(Some((span.into_u64(), metadata)));
        }
        self.with(|seen| seen.entered.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {}

    fn current_span(&self) -> tracing_core::span::Current {
        match CURRENT.get() {
            Some((id, metadata)) if id > 0 => tracing_core::span::Current::new(Id::from_u64(id), metadata),
            _ => tracing_core::span::Current::none(),
        }
    }
}

#[test]
fn each_task_has_a_span_and_each_mishap_an_event() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).expect("the only one");
    let pool = ThreadPool::builder().workers(1).build().expect("threads");
    let runner = SequencedTaskRunner::builder(&pool).name("db").build().expect("valid");
    let request = tracing::info_span!("request");
    let line = line!() + 1;
    request.in_scope(|| runner.task().name("import").priority(Priority::UserBlocking).post(|| ())).expect("open");
    runner.post_task(|| panic!("sadly")).expect("open");
    runner.flush().expect("quiet");
    pool.shutdown().expect("outside");
    assert!(pool.post_task(|| ()).is_err());
    recorder.with(|seen| {
        let tasks: Vec<_> = seen.spans.iter().filter(|(_, fields)| fields["span"] == "task").collect();
        assert_eq!(tasks.len(), 2);
        let (id, fields) = tasks[0];
        assert_eq!(
            (&*fields["name"], &*fields["runner"], &*fields["priority"]),
            ("\"import\"", "\"db\"", "UserBlocking")
        );
        assert!(fields["location"].contains(&format!("p_tracing.rs:{line}:")), "{fields:?}");
        assert!(fields["queued_for"].starts_with("Some("), "{fields:?}");
        let request = seen.spans.iter().find(|(_, fields)| fields["span"] == "request").expect("made above").0;
        assert!(seen.causes.contains(&(*id, request)), "{:?}", seen.causes);
        assert!(seen.entered.contains(id));
        let has =
            |level: Level, text: &str| seen.events.iter().any(|(at, message)| *at == level && message.contains(text));
        assert!(has(Level::ERROR, "sadly") && has(Level::DEBUG, "was refused"), "{:?}", seen.events);
    });
}
