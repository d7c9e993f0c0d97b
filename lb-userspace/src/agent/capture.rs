//! Captures: puts the program that captures in place while somebody watches, and hands on what it sees.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{CaptureError, CaptureOrder, Captures};
use crate::dataplane::KernelDataplane;
use crate::dataplane::capture::{Capture, LEASE};
use crate::ledger::Ledger;
use crate::observe;
use crate::observe::capture::{Decision, Names, Writer};
use crate::plan::{NextHops, Tables};

/// Pieces that wait for a slow reader; then the kernel's buffer fills, and what has no room there is lost and counted.
const WAITING: usize = 16;

/// What the agent captures with.
#[derive(Clone)]
pub(super) struct FromProgram {
    pub(super) dataplane: Arc<Mutex<KernelDataplane>>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) tables: watch::Receiver<Arc<Tables>>,
    pub(super) next_hops: watch::Receiver<Arc<NextHops>>,
    /// Ends every capture.
    pub(super) stop: CancellationToken,
    /// Who captures now, and until when.
    pub(super) now: Arc<Mutex<Option<(String, Timestamp)>>>,
    /// The capture that began last.
    pub(super) running: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Captures for FromProgram {
    fn begin(&self, order: CaptureOrder) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, CaptureError>> {
        async move {
            let place = self.take_place(&order)?;
            let (sender, receiver) = mpsc::channel(WAITING);
            let (told, hears) = oneshot::channel();
            // A task of its own: who asked may be gone before the program is loaded, and it is taken off all the same.
            let task = tokio::spawn(self.clone().capture(order, sender, place, told));
            *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
            hears.await.unwrap_or_else(|_| Err(CaptureError::Failed("it broke off".to_owned())))?;
            let pieces =
                stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
            Ok(pieces.boxed())
        }
        .boxed()
    }
}

/// The one place for a capture; free again when this is dropped.
struct Place(Arc<Mutex<Option<(String, Timestamp)>>>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl FromProgram {
    fn take_place(&self, order: &CaptureOrder) -> Result<Place, CaptureError> {
        if self.stop.is_cancelled() {
            return Err(CaptureError::Stopping);
        }
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, until)) = now.as_ref() {
            return Err(CaptureError::Busy { by: by.clone(), until: *until });
        }
        let lasts = SignedDuration::try_from(order.lasts).unwrap_or(SignedDuration::MAX);
        let until = Timestamp::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
        *now = Some((order.by.clone(), until));
        Ok(Place(Arc::clone(&self.now)))
    }

    /// Loads the program without holding up the reconciler, then swaps it in.
    async fn start(&self, filter: lb_common::abi::capture::CaptureFilter) -> Result<Capture, CaptureError> {
        let dataplane = Arc::clone(&self.dataplane);
        let work = move || {
            let ground = dataplane.lock().unwrap_or_else(PoisonError::into_inner).capture_ground();
            let mut capture = ground.load(filter)?;
            dataplane.lock().unwrap_or_else(PoisonError::into_inner).begin_capture(&capture)?;
            capture.go_on()?;
            Ok(capture)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => {
                result.map_err(|error: crate::dataplane::DataplaneError| CaptureError::Failed(observe::chain(&error)))
            }
            Err(error) => Err(CaptureError::Failed(error.to_string())),
        }
    }

    async fn capture(
        self,
        order: CaptureOrder,
        sender: mpsc::Sender<Bytes>,
        place: Place,
        told: oneshot::Sender<Result<(), CaptureError>>,
    ) {
        let (began, outcome) = match self.start(order.wanted.filter()).await {
            Ok(capture) => (Some((capture, Timestamp::now())), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if told.send(outcome).is_err() {
            log::debug!("nobody waits for the capture of {} any more", order.by);
        }
        if let Some((capture, began)) = began {
            log::info!("{} captures packets for {:?} at most: {:?}", order.by, order.lasts, order.wanted);
            self.run(capture, began, order, sender, place).await;
        }
    }

    /// Hands on packets until there are enough, the time is over, nobody listens, or the agent stops.
    async fn run(
        self,
        mut capture: Capture,
        began: Timestamp,
        order: CaptureOrder,
        sender: mpsc::Sender<Bytes>,
        place: Place,
    ) {
        let mut writer = Writer::new(order.format, order.wanted.snap);
        let why = tokio::select! {
            why = self.hand_on(&mut capture, began, &order, &sender, &mut writer) => why,
            () = tokio::time::sleep(order.lasts) => "time",
            () = sender.closed() => "closed",
            () = self.stop.cancelled() => "stopping",
        };
        self.restore().await;
        let lost = capture.lost().unwrap_or_else(|error| {
            log::error!("what was lost of a capture cannot be read: {}", observe::chain(&error));
            0
        });
        log::info!("the capture of {} ends ({why}): {} packets, {lost} lost", order.by, writer.captured());
        // Free for the next one before the reader hears of the end.
        drop(place);
        let end = Bytes::from(writer.end(why, Timestamp::now(), lost));
        // A reader that is gone or stands still does not hear of it.
        let _ = tokio::time::timeout(LEASE, sender.send(end)).await;
    }

    async fn hand_on(
        &self,
        capture: &mut Capture,
        began: Timestamp,
        order: &CaptureOrder,
        sender: &mpsc::Sender<Bytes>,
        writer: &mut Writer,
    ) -> &'static str {
        if sender.send(Bytes::from(writer.begin())).await.is_err() {
            return "closed";
        }
        // The lease is that of who listens: it is not renewed while nothing is taken.
        let mut renewal = tokio::time::interval(LEASE / 3);
        loop {
            let packets = tokio::select! {
                packets = capture.next() => packets,
                _ = renewal.tick() => match capture.go_on() {
                    Ok(()) => continue,
                    Err(error) => {
                        log::error!("a capture cannot go on: {}", observe::chain(&error));
                        return "failed";
                    }
                },
            };
            let packets = match packets {
                Ok(packets) => packets,
                Err(error) => {
                    log::error!("captured packets cannot be read: {error}");
                    return "failed";
                }
            };
            let names = Names {
                tables: Arc::clone(&self.tables.borrow()),
                snapshot: self.ledger.snapshot(),
                next_hops: Arc::clone(&self.next_hops.borrow()),
            };
            let mut piece = Vec::new();
            let enough = |writer: &Writer| order.count.is_some_and(|count| writer.captured() >= count);
            for packet in packets {
                let since = SignedDuration::try_from(packet.since).unwrap_or(SignedDuration::ZERO);
                let decision = Decision::of(&packet, began.checked_add(since).unwrap_or(began), &names);
                piece.extend(writer.packet(&packet, &decision, interface_name));
                if enough(writer) {
                    break;
                }
            }
            if sender.send(Bytes::from(piece)).await.is_err() {
                return "closed";
            }
            if enough(writer) {
                return "count";
            }
        }
    }

    /// Puts the program that normally runs back.
    async fn restore(&self) {
        let dataplane = Arc::clone(&self.dataplane);
        let work = move || dataplane.lock().unwrap_or_else(PoisonError::into_inner).end_capture();
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!(
                "the program that captures is not off every interface ({}); it captures nothing any more, and is taken off \
                 with the next repair",
                observe::chain(&error)
            ),
            Err(error) => log::error!("ending a capture broke off: {error}"),
        }
    }

    /// Ends a capture that is going on, and waits until the normal program runs again.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        let task = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && tokio::time::timeout(LEASE + Duration::from_secs(1), task).await.is_err()
        {
            log::error!("a capture did not end in time; it captures nothing any more");
        }
    }
}

fn interface_name(ifindex: u32) -> String {
    nix::net::if_::if_indextoname(ifindex)
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| format!("if{ifindex}"))
}
