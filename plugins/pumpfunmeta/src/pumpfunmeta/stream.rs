//! What flows through: buffers get the coin, muxers get its tags.

use super::imp::{CAT, PumpFunMeta};
use super::known::Coin;
use crate::{meta, tags};
use gst::{glib, prelude::*, subclass::prelude::*};
use std::sync::{Arc, atomic::Ordering};

/// The event by which `livekitsrc` says which coin a stream is about.
const MINT_EVENT: &str = "pumpfun-mint";
/// Its field (string).
const MINT_FIELD: &str = "mint-id";

/// Tags as they were given on.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// Upstream's, of the whole file.
    upstream: Option<gst::TagList>,
    /// The coin whose tags were sent in this stream.
    sent: Option<Arc<Coin>>,
    /// When the first buffer of this run came, in UTC.
    began: Option<glib::DateTime>,
}

impl PumpFunMeta {
    pub(super) fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let coin = self.known_coin();
        self.send_tags(coin.as_ref());
        self.srcpad().push(self.described(buffer, coin.as_deref()))
    }

    pub(super) fn chain_list(
        &self,
        mut list: gst::BufferList,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let coin = self.known_coin();
        self.send_tags(coin.as_ref());
        if coin.is_some() {
            let list = list.make_mut();
            let taken: Vec<_> = list.drain(..).collect();
            for buffer in taken {
                list.add(self.described(buffer, coin.as_deref()));
            }
        }
        self.srcpad().push_list(list)
    }

    /// The buffer with its coin. One that somebody else holds too is copied without its bytes.
    fn described(&self, mut buffer: gst::Buffer, coin: Option<&Coin>) -> gst::Buffer {
        if let Some(coin) = coin
            && meta::attach(buffer.make_mut(), &coin.structure)
        {
            self.described.fetch_add(1, Ordering::Relaxed);
            gst::trace!(CAT, imp = self, "{buffer:?} has the coin");
        }
        buffer
    }

    pub(super) fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::StreamStart(_) => {
                let mut tags = self.tags.lock();
                // Downstream forgets tags with each stream.
                (tags.upstream, tags.sent) = (None, None);
            }
            gst::EventView::Tag(tag) if tag.tag().scope() == gst::TagScope::Global => {
                let event = self.with_coin(&event, tag.tag_owned());
                return self.forward(event);
            }
            gst::EventView::CustomDownstreamSticky(custom) => {
                let said = custom.structure().filter(|said| said.name() == MINT_EVENT);
                if let Some(said) = said {
                    self.set_upstream_mint(said.get::<String>(MINT_FIELD).ok());
                }
            }
            // What may end a stream, or stand for a buffer.
            gst::EventView::Eos(_) | gst::EventView::Gap(_) => {
                self.send_tags(self.known_coin().as_ref());
            }
            _ => {}
        }
        self.forward(event)
    }

    fn forward(&self, event: gst::Event) -> bool {
        gst::Pad::event_default(self.sinkpad(), Some(&*self.obj()), event)
    }

    /// Upstream's tags with the coin's.
    fn with_coin(&self, event: &gst::Event, upstream: gst::TagList) -> gst::Event {
        let coin = self.known_coin();
        let mut tags = self.tags.lock();
        tags.upstream = Some(upstream);
        let Some(coin) = coin else {
            return event.clone();
        };
        let list = tags.take_over(coin);
        gst::event::Tag::builder(list)
            .seqnum(event.seqnum())
            .build()
    }

    /// Sends the coin's tags, once for each coin and stream, before the buffer that comes next.
    fn send_tags(&self, coin: Option<&Arc<Coin>>) {
        let Some(coin) = coin else {
            return;
        };
        let list = {
            let mut tags = self.tags.lock();
            if tags
                .sent
                .as_ref()
                .is_some_and(|sent| Arc::ptr_eq(sent, coin))
            {
                return;
            }
            // Tags follow the segment.
            if self
                .srcpad()
                .sticky_event::<gst::event::Segment>(0)
                .is_none()
            {
                return;
            }
            let known = tags
                .sent
                .as_ref()
                .is_some_and(|sent| sent.tags == coin.tags);
            let list = tags.take_over(Arc::clone(coin));
            if known {
                return;
            }
            list
        };
        gst::debug!(CAT, imp = self, "tags: {list:?}");
        self.srcpad().push_event(gst::event::Tag::new(list));
    }
}

impl Tags {
    /// The tags to send for a coin.
    fn take_over(&mut self, coin: Arc<Coin>) -> gst::TagList {
        if self.began.is_none() {
            self.began = glib::DateTime::now_utc().ok();
        }
        let list = tags::merged(&coin.tags, self.upstream.as_ref(), self.began.as_ref());
        self.sent = Some(coin);
        list
    }
}
