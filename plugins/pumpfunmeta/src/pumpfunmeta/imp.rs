//! Properties, pads, states and messages; see the module above for what the element does.

use super::known::{Coin, Known, News};
use super::properties::{PROP_COIN, PROP_MINT_ID, PROP_STATS, PROPERTIES, load, store};
use super::stream::Tags;
use crate::follow::{Following, Target};
use crate::settings::{Settings, SettingsError};
use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;
use pumpfun_api::{Error, Mint, Observation};
use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "pumpfunmeta",
        gst::DebugColorFlags::empty(),
        Some("pump.fun coins as metadata"),
    )
});

/// What runs.
#[derive(Debug, Default)]
struct State {
    /// From READY to PAUSED until back again.
    started: bool,
    /// The coin by what upstream says.
    upstream_mint: Option<String>,
    following: Option<Following>,
}

/// The element. Lock order: `state`, then `settings` or `known`; none is held while anything of
/// GStreamer or the application is called.
#[derive(Debug)]
pub struct PumpFunMeta {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    known: Mutex<Known>,
    /// Only the streaming thread takes it, but for starts and stops.
    pub(super) tags: Mutex<Tags>,
    /// Buffers that got the meta.
    pub(super) described: AtomicU64,
}

/// Why a coin can't be followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no thread to ask pump.fun: {0}")]
    Thread(#[from] io::Error),
}

#[glib::object_subclass]
impl ObjectSubclass for PumpFunMeta {
    const NAME: &'static str = "GstPumpFunMeta";
    type Type = super::PumpFunMeta;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        // Caps and buffers' needs are those of the neighbours.
        let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
        let sink = gst::Pad::builder_from_template(&template(class, "sink"))
            .chain_function(|_, parent, buffer| {
                let panicked = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, panicked, |this| this.chain(buffer))
            })
            .chain_list_function(|_, parent, list| {
                let panicked = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, panicked, |this| this.chain_list(list))
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(event))
            })
            .flags(flags)
            .build();
        let src = gst::Pad::builder_from_template(&template(class, "src"))
            .flags(flags)
            .build();
        Self {
            sinkpad: sink,
            srcpad: src,
            settings: Mutex::default(),
            state: Mutex::default(),
            known: Mutex::default(),
            tags: Mutex::default(),
            described: AtomicU64::default(),
        }
    }
}

/// A template that [`ElementImpl::pad_templates`] has put into the class.
fn template(class: &<PumpFunMeta as ObjectSubclass>::Class, name: &str) -> gst::PadTemplate {
    class
        .pad_template(name)
        .expect("the class has the templates that pad_templates returned")
}

impl ObjectImpl for PumpFunMeta {
    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.sinkpad, &self.srcpad] {
            if let Err(error) = self.obj().add_pad(pad) {
                gst::error!(CAT, imp = self, "a pad can't be added: {error}");
            }
        }
    }

    fn properties() -> &'static [glib::ParamSpec] {
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        store(&mut self.settings.lock(), pspec.name(), value);
        if pspec.name() == PROP_MINT_ID {
            self.follow_or_warn();
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            PROP_COIN => {
                let coin = self.known_coin();
                coin.map(|coin| coin.structure.clone()).to_value()
            }
            PROP_STATS => {
                let buffers = self.described.load(Ordering::Relaxed);
                self.known.lock().stats(buffers).to_value()
            }
            name => {
                load(&self.settings.lock(), name).unwrap_or_else(|| pspec.default_value().clone())
            }
        }
    }
}

impl GstObjectImpl for PumpFunMeta {}

impl ElementImpl for PumpFunMeta {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "pump.fun coin metadata",
                "Filter/Metadata/Network",
                "Attaches what is known of a pump.fun coin to buffers, and sends it as tags",
                "The Haven developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [
                ("sink", gst::PadDirection::Sink),
                ("src", gst::PadDirection::Src),
            ]
            .into_iter()
            .filter_map(|(name, direction)| {
                let any = gst::Caps::new_any();
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &any).ok()
            })
            .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start().map_err(|error| {
                self.start_failed(&error);
                gst::StateChangeError
            })?;
        }
        let changed = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if changed.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        changed
    }
}

impl PumpFunMeta {
    pub(super) fn sinkpad(&self) -> &gst::Pad {
        &self.sinkpad
    }

    pub(super) fn srcpad(&self) -> &gst::Pad {
        &self.srcpad
    }

    pub(super) fn known_coin(&self) -> Option<Arc<Coin>> {
        self.known.lock().coin.clone()
    }

    fn start(&self) -> Result<(), FollowError> {
        // Tells now what can't work, not when the mint is known.
        self.settings.lock().endpoints()?;
        *self.tags.lock() = Tags::default();
        self.described.store(0, Ordering::Relaxed);
        self.state.lock().started = true;
        self.follow()
    }

    fn start_failed(&self, error: &FollowError) {
        self.stop();
        match error {
            FollowError::Settings(_) => {
                gst::element_imp_error!(self, gst::ResourceError::Settings, ("{error}"));
            }
            FollowError::Thread(_) => {
                gst::element_imp_error!(self, gst::CoreError::Thread, ("{error}"));
            }
        }
    }

    fn stop(&self) {
        let following = std::mem::take(&mut *self.state.lock()).following;
        let forgotten = self.known.lock().forget(None);
        self.unfollow(following, forgotten);
    }

    fn unfollow(&self, following: Option<Following>, forgotten: bool) {
        if let Some(following) = following {
            gst::info!(CAT, imp = self, "{} is no longer followed", following.mint);
            following.stop();
        }
        if forgotten {
            self.obj().notify(PROP_COIN);
        }
    }

    /// Upstream says which coin its stream is about; it counts where the property says nothing.
    pub(super) fn set_upstream_mint(&self, mint: Option<String>) {
        {
            let mut state = self.state.lock();
            if !state.started || state.upstream_mint == mint {
                return;
            }
            state.upstream_mint = mint;
        }
        self.follow_or_warn();
    }

    fn follow_or_warn(&self) {
        if let Err(error) = self.follow() {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{error}"));
        }
    }

    /// Follows the coin that the property names, or upstream, unless it does so already.
    fn follow(&self) -> Result<(), FollowError> {
        let mut state = self.state.lock();
        if !state.started {
            return Ok(());
        }
        let mut settings = self.settings.lock().clone();
        if settings.mint_id.is_none() {
            settings.mint_id.clone_from(&state.upstream_mint);
        }
        let now = state.following.as_ref().map(|now| &now.mint);
        let wanted = settings.mint();
        if wanted.as_ref().is_ok_and(|wanted| wanted.as_ref() == now) {
            return Ok(());
        }
        let before = state.following.take();
        let (generation, forgotten) = {
            let mut known = self.known.lock();
            let forgotten = known.forget(wanted.as_ref().ok().cloned().flatten());
            (known.generation, forgotten)
        };
        let begun = wanted.map_err(FollowError::from).and_then(|mint| {
            let mint = mint.map(|mint| self.begin(mint, generation, &settings));
            mint.transpose()
        });
        let failed = match begun {
            Ok(following) => {
                state.following = following;
                Ok(())
            }
            Err(error) => Err(error),
        };
        drop(state);
        self.unfollow(before, forgotten);
        failed
    }

    fn begin(
        &self,
        mint: Mint,
        generation: u64,
        settings: &Settings,
    ) -> Result<Following, FollowError> {
        gst::info!(CAT, imp = self, "following {mint}");
        let target = Target {
            mint,
            endpoints: settings.endpoints()?,
            interval: settings.refresh_interval(),
            generation,
        };
        Ok(Following::start(self, target)?)
    }

    /// The outcome of a request, on the fetcher's thread.
    pub(crate) fn observed(&self, generation: u64, seen: &Observation) {
        let news = self.known.lock().learn(generation, seen);
        gst::debug!(CAT, imp = self, "request {}: {news:?}", seen.requests);
        match news {
            News::Nothing => {}
            News::Coin(structure) => {
                self.obj().notify(PROP_COIN);
                let element = self.obj();
                let message = gst::message::Element::builder(structure)
                    .src(&*element)
                    .build();
                // It fails where there is no bus, and nobody to tell.
                let _ = element.post_message(message);
            }
            News::Outage(error) => self.warn(&error),
        }
    }

    fn warn(&self, error: &Error) {
        match error {
            Error::NotLive => gst::element_imp_warning!(
                self,
                gst::ResourceError::NotFound,
                ("pump.fun does not know the coin")
            ),
            error => gst::element_imp_warning!(
                self,
                gst::ResourceError::Read,
                ("no news of the coin, what is known stays: {error}")
            ),
        }
    }
}
