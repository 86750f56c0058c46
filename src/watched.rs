//! Values that others watch.

use tokio::sync::watch;

/// The value is this from now on; `true` if it was another one. Who watches is woken by a change only.
pub(crate) fn set<T: PartialEq>(watched: &watch::Sender<T>, value: T) -> bool {
    watched.send_if_modified(|known| {
        let is_news = *known != value;
        *known = value;
        is_news
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::set;

    #[test]
    fn who_watches_is_woken_by_another_value_only() {
        let (sender, mut watcher) = watch::channel(1);
        assert!(!set(&sender, 1));
        assert!(!watcher.has_changed().unwrap());
        assert!(set(&sender, 2));
        assert!(watcher.has_changed().unwrap());
        assert_eq!(*watcher.borrow_and_update(), 2);
        // Also while nobody watches.
        drop(watcher);
        assert!(set(&sender, 3));
        assert_eq!(*sender.borrow(), 3);
    }
}
