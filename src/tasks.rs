//! The tasks that a part of the node is made of.
//!
//! A panic ends one task, and nobody else hears of it: handles to it go on taking what it is told, and what
//! it shows never changes again. A node cannot go on like that. So `Tasks` keeps what its tasks panicked
//! of, for the node's loop to wait for: the node ends with that, and whoever supervises it starts it again.

use std::{any::Any, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A task has panicked that a node cannot go on without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{task} has panicked, and a node cannot go on without it: {message}")]
pub struct Panicked {
    task: &'static str,
    message: String,
}

/// Tasks none of which may end before it is told to. Clones are alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    running: TaskTracker,
    /// The first that has panicked.
    panicked: watch::Sender<Option<Panicked>>,
}

impl Tasks {
    /// Begins `task`, which does `work`.
    pub(crate) fn spawn(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let panicked = self.panicked.clone();
        // What it leaves half-done is not looked at again: all that it was part of is shut down.
        let work = AssertUnwindSafe(work).catch_unwind().map(move |ended| {
            if let Err(payload) = ended {
                let message = message(&*payload);
                panicked.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(Panicked { task, message });
                    is_first
                });
            }
        });
        self.running.spawn(work);
    }

    /// Returns once all have ended. No more may be begun by then.
    pub(crate) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Returns the first that has panicked, once one has; never as long as none does. Safe to drop and call
    /// again.
    pub(crate) async fn panicked(&self) -> Panicked {
        let mut panicked = self.panicked.subscribe();
        let told = panicked.wait_for(Option::is_some).await;
        match told.ok().and_then(|panicked| panicked.clone()) {
            Some(panicked) => panicked,
            // The sender lives in `self`, so waiting cannot fail.
            None => std::future::pending().await,
        }
    }
}

/// The text of a panic. Only who panics with a value of another kind gives none.
fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "it does not say why".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::Tasks;

    /// What is told of a task that does `work`.
    async fn told(work: impl Future<Output = ()> + Send + 'static) -> String {
        let tasks = Tasks::default();
        tasks.spawn("the clerk", work);
        tasks.panicked().await.to_string()
    }

    #[tokio::test]
    async fn a_panic_is_told_with_its_task_and_what_it_said() {
        let number = 7;
        let text = told(async { panic!("a text") }).await;
        assert!(text.starts_with("the clerk has panicked"), "{text}");
        assert!(text.ends_with("a text"), "{text}");
        let made = told(async move { panic!("number {number}") }).await;
        assert!(made.ends_with("number 7"), "{made}");
        let none = told(async { panic_any(3) }).await;
        assert!(none.ends_with("it does not say why"), "{none}");
    }

    #[tokio::test]
    async fn who_waits_already_hears_of_a_panic_that_is_still_to_come() {
        let tasks = Tasks::default();
        let (begin, begun) = oneshot::channel::<()>();
        tasks.spawn("the clerk", async move {
            let _ = begun.await;
            panic!("a text");
        });
        let mut told = Box::pin(tasks.panicked());
        assert!(told.as_mut().now_or_never().is_none());
        begin.send(()).unwrap();
        assert!(told.await.to_string().ends_with("a text"));
    }

    #[tokio::test]
    async fn the_first_panic_is_the_one_that_is_told() {
        let tasks = Tasks::default();
        tasks.spawn("the first", async { panic!("a text") });
        tasks.panicked().await;
        tasks.spawn("the second", async { panic!("a text") });
        tasks.ended().await;
        let told = tasks.panicked().await.to_string();
        assert!(told.starts_with("the first"), "{told}");
    }

    #[tokio::test]
    async fn tasks_that_end_in_order_are_waited_for_and_nothing_is_told() {
        let tasks = Tasks::default();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn("the clerk", async move {
            let _ = ended.await;
        });
        let mut all = Box::pin(tasks.ended());
        assert!(all.as_mut().now_or_never().is_none());
        end.send(()).unwrap();
        all.await;
        assert!(tasks.panicked().now_or_never().is_none());
    }
}
