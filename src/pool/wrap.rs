//! Closures and bodies become tasks: where they were posted, their name, and what a tracer wants to know.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::Arc;

use super::core::Core;
use super::observe;
use super::task_builder::Spec;
use crate::task::current::{self, Name};
use crate::task::handle::{Packet, PacketBody};
use crate::task::raw::{Body, Extension, Task};
use crate::task::site::Site;
use crate::task::traits::Meta;

impl Core {
    /// Wraps a closure posted from `location` by what runs on this thread.
    #[inline]
    pub(crate) fn wrap<F>(f: F, location: &'static Location<'static>, meta: Meta, name: Option<Name>) -> Task
    where
        F: FnOnce() + Send + 'static,
    {
        let site = Site::intern(current::site(), location);
        if name.is_none() && !observe::is_tracing() {
            return Task::plain(f, site, meta);
        }
        Task::plain_extended(f, Self::extension(name), site, meta)
    }

    /// As [`wrap`](Self::wrap), for a body that fits beside an extension.
    pub(crate) fn wrap_body<B: Body>(
        body: B,
        location: &'static Location<'static>,
        meta: Meta,
        name: Option<Name>,
    ) -> Task {
        let site = Site::intern(current::site(), location);
        if name.is_none() && !observe::is_tracing() {
            return Task::new(body, site, meta);
        }
        Task::extended(body, Self::extension(name), site, meta)
    }

    /// The task that runs what a handle waits for.
    pub(crate) fn wrap_packet<F, T>(packet: &Arc<Packet<F, T>>, spec: &Spec, meta: Meta) -> Task
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Self::wrap_body(PacketBody(Arc::clone(packet)), spec.location, meta, spec.name.clone())
    }

    #[cold]
    fn extension(name: Option<Name>) -> Box<Extension> {
        let mut extension = Box::new(Extension { name, ..Extension::default() });
        if observe::is_tracing() {
            observe::stamp(&mut extension);
        }
        extension
    }
}
