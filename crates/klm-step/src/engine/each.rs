//! The nodes of a wave side by side, in one thread: what goes wrong with one doesn't take the others with it.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt as _, StreamExt as _, stream};

/// Requests in flight at once: a wave of 500 must not look like an attack on the API server.
const AT_ONCE: usize = 32;

/// Does `work` for every item and waits for all of it, in order. An error or a panic of one is returned only after the
/// others have come to their own end.
pub async fn each<T, R>(
    items: impl IntoIterator<Item = T>,
    work: impl AsyncFn(T) -> anyhow::Result<R>,
) -> anyhow::Result<Vec<R>> {
    let guarded = |item| AssertUnwindSafe(work(item)).catch_unwind();
    let results: Vec<_> = stream::iter(items.into_iter().map(guarded)).buffered(AT_ONCE).collect().await;
    let mut done = Vec::new();
    let mut first = None;
    for result in results {
        match result.unwrap_or_else(|panic| Err(anyhow::anyhow!("bug: {}", message(panic.as_ref())))) {
            Ok(value) => done.push(value),
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => tracing::error!(error = %crate::exit::chain(&error), "one more of the wave failed"),
        }
    }
    first.map_or(Ok(done), Err)
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_panic_or_an_error_of_one_leaves_the_others_alone() {
        let done = RefCell::new(Vec::new());
        let result = each(0..5, async |number| {
            tokio::task::yield_now().await;
            assert!(number != 1, "one is broken");
            anyhow::ensure!(number != 3, "three failed");
            done.borrow_mut().push(number);
            Ok(number)
        });
        let error = result.await.unwrap_err().to_string();
        assert!(error.contains("one is broken"), "{error}");
        let mut done = done.into_inner();
        done.sort_unstable();
        assert_eq!(done, [0, 2, 4]);
    }

    #[tokio::test]
    async fn results_keep_the_order_of_the_items() {
        let result = each(0..100, async |number| {
            for _ in 0..(100 - number) {
                tokio::task::yield_now().await;
            }
            Ok(number)
        });
        assert_eq!(result.await.unwrap(), (0..100).collect::<Vec<_>>());
    }
}
