//! Says what happened when bytes of a mapped file cannot be read.
//!
//! A disk that reports an error, or a file that is cut short while it is mapped, raises SIGBUS in the
//! thread that touches the bytes, which by default ends the program without a message. The
//! handler here writes a message that was prepared when the file was mapped, and ends the program with
//! status 1. Faults elsewhere go to the handler that was there before: Rust's own, which reports stack
//! overflows, or an embedding program's.
//!
//! A signal handler may interrupt anything, so it neither allocates nor locks: it walks a list of atomics
//! whose nodes are never freed and calls what POSIX calls async-signal-safe.

#![allow(unsafe_code, reason = "signal handlers are installed through C functions")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::printable;

/// Memory that holds a file, or did.
struct Region {
    start: usize,
    /// 0 once the file is no longer mapped.
    end: AtomicUsize,
    /// The message up to the position.
    message: Box<[u8]>,
    next: AtomicPtr<Region>,
}

/// What follows the position in the message.
const REASON: &[u8] =
    b": the disk reports an error, or the file was shortened while in use; check the disk, or \
    get the file again\n";

/// The regions, the newest first.
static NEWEST: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());
/// What a SIGBUS did before; set once the handler is installed.
static EARLIER: OnceLock<libc::sigaction> = OnceLock::new();
/// The settings of the terminal when the handler was installed, if standard input is one.
static TERMINAL: OnceLock<libc::termios> = OnceLock::new();
/// Whether a message is being written: the first one is enough.
static IS_REPORTING: AtomicBool = AtomicBool::new(false);

/// Installs the handler, for files mapped from now on.
pub(super) fn install() {
    EARLIER.get_or_init(|| {
        let mut settings = MaybeUninit::uninit();
        // SAFETY: the pointer is to room for the settings, which are there if the call succeeds.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) } == 0 {
            // SAFETY: it succeeded.
            let _ = TERMINAL.set(unsafe { settings.assume_init() });
        }
        // SAFETY: all-zero bytes are an action: the default, with no flags and an empty mask.
        let (mut action, mut earlier): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both actions live through the call; `on_fault` has the signature that SA_SIGINFO asks for
        // and does only what a handler may.
        let installed = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut earlier) };
        // It fails for signals that do not exist, and then nothing is lost but the message.
        debug_assert_eq!(installed, 0);
        earlier
    });
}

/// Keeps a mapping known to the handler.
#[derive(Debug)]
pub(super) struct Registered(&'static AtomicUsize);

impl Registered {
    /// Makes the mapping `bytes` of the file at `path` known; `None` if no handler is installed.
    ///
    /// A mapping costs some hundred bytes, which are never freed: the handler might be reading them.
    pub(super) fn new(path: &Path, bytes: &[u8]) -> Option<Self> {
        EARLIER.get()?;
        let start = bytes.as_ptr().addr();
        let message = format!("error: cannot read {} at byte ", printable::path(path));
        let region = Box::leak(Box::new(Region {
            start,
            end: AtomicUsize::new(start + bytes.len()),
            message: message.into_bytes().into_boxed_slice(),
            next: AtomicPtr::new(NEWEST.load(Ordering::Acquire)),
        }));
        let new: *mut Region = region;
        // A shared view: from here on the handler may read the region.
        let region: &'static Region = region;
        while let Err(newest) = NEWEST.compare_exchange(
            region.next.load(Ordering::Relaxed),
            new,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            region.next.store(newest, Ordering::Relaxed);
        }
        Some(Self(&region.end))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// The mapping that holds `address`.
fn region_of(address: usize) -> Option<&'static Region> {
    let mut next = NEWEST.load(Ordering::Acquire);
    loop {
        // SAFETY: a pointer in the list is null or to a region that is never freed and never borrowed mutably.
        let region = unsafe { next.as_ref() }?;
        if (region.start..region.end.load(Ordering::Acquire)).contains(&address) {
            return Some(region);
        }
        next = region.next.load(Ordering::Acquire);
    }
}

/// The handler of SIGBUS.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system hands over a valid `info`, whose address is meaningful for faults (positive codes).
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    match region_of(address).filter(|_| code > 0) {
        Some(region) => report(region, address - region.start),
        None => pass_on(signal, info, context),
    }
}

/// Writes the message and ends the program.
fn report(region: &Region, position: usize) -> ! {
    if IS_REPORTING.swap(true, Ordering::AcqRel) {
        loop {
            // SAFETY: waiting is safe; the thread that writes ends the process.
            unsafe { libc::pause() };
        }
    }
    let mut digits = [0; 20];
    // SAFETY: all of these are async-signal-safe; the slices and the settings live through the calls. A process
    // in the background must not touch the terminal: that would stop it.
    unsafe {
        if let Some(settings) = TERMINAL.get()
            && libc::tcgetpgrp(libc::STDIN_FILENO) == libc::getpgrp()
        {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings);
        }
        for part in [&region.message, decimal(position, &mut digits), REASON] {
            libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
        }
        libc::_exit(1)
    }
}

/// The digits of `n`, without allocation.
fn decimal(mut n: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[first..];
        }
    }
}

/// Does with a fault that is not ours what would have been done without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let (handler, flags) =
        EARLIER.get().map_or((libc::SIG_DFL, 0), |earlier| (earlier.sa_sigaction, earlier.sa_flags));
    // SAFETY: what is neither the default nor to ignore is a handler of the signature that its flags say. The
    // default takes effect when this handler returns: at the fault that comes again, or by the signal raised.
    unsafe {
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        } else if flags & libc::SA_SIGINFO != 0 {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_writes_all_digits() {
        for n in [0, 7, 10, 4_096, usize::MAX] {
            assert_eq!(decimal(n, &mut [0; 20]), n.to_string().as_bytes());
        }
    }

    #[test]
    fn a_mapping_is_known_while_it_is_registered() {
        install();
        let bytes = [0_u8; 64];
        let start = bytes.as_ptr().addr();
        let registered = Registered::new(Path::new("a\u{1b}.gguf"), &bytes).expect("installed");
        let region = region_of(start + 63).expect("registered");
        assert_eq!(&*region.message, b"error: cannot read a\\u{1b}.gguf at byte ");
        assert!(region_of(start + 64).is_none_or(|other| !ptr::eq(other, region)));
        drop(registered);
        assert!(region_of(start).is_none_or(|other| !ptr::eq(other, region)));
    }
}
