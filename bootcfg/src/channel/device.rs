//! xenpci's device interface: it is found and opened, and control codes are sent to it.
//!
//! Each request has ended when its routine returns: one that is not answered in time is cancelled, and its end waited
//! for. So no buffer outlives its caller.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    mem::offset_of,
    os::windows::{ffi::OsStringExt, fs::OpenOptionsExt, io::AsRawHandle},
    path::PathBuf,
    ptr,
    time::Duration,
};

use guard::{
    channel::{GET_LINE, GET_RECORD, INTERFACE, LogLine},
    record,
};
use windows_sys::{
    Win32::{
        Devices::DeviceAndDriverInstallation::{
            DIGCF_DEVICEINTERFACE, DIGCF_PRESENT, HDEVINFO, SP_DEVICE_INTERFACE_DATA,
            SP_DEVICE_INTERFACE_DETAIL_DATA_W, SetupDiDestroyDeviceInfoList, SetupDiEnumDeviceInterfaces,
            SetupDiGetClassDevsW, SetupDiGetDeviceInterfaceDetailW,
        },
        Foundation::{
            ERROR_INVALID_FUNCTION, ERROR_IO_PENDING, ERROR_NO_MORE_ITEMS, ERROR_OPERATION_ABORTED, HANDLE,
            WAIT_OBJECT_0,
        },
        Storage::FileSystem::FILE_FLAG_OVERLAPPED,
        System::{
            IO::{CancelIo, DeviceIoControl, GetOverlappedResult, OVERLAPPED},
            Threading::{INFINITE, WaitForMultipleObjects},
        },
    },
    core::GUID,
};

use super::{
    Channel,
    event::{Event, milliseconds},
};

/// Time that the driver has for an answer that waits for nothing.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest path of a device interface, in units.
const PATH: usize = 512;

/// The open channel.
#[derive(Debug)]
pub struct Device {
    file: File,
    /// A request has ended.
    done: Event,
}

/// End of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was answered, with so many bytes.
    Answered(usize),
    /// It was cancelled: the event at this place was set.
    Interrupted(usize),
    /// It was cancelled: the time is over.
    Late,
}

impl Device {
    /// Opens the channel with the rights that the options ask for; `None` where no device offers it.
    ///
    /// # Errors
    /// The answer of Windows.
    pub fn open(options: &mut OpenOptions) -> io::Result<Option<Device>> {
        let Some(path) = find()? else { return Ok(None) };
        let done = Event::new()?;
        match options.custom_flags(FILE_FLAG_OVERLAPPED).open(&path) {
            Ok(file) => Ok(Some(Device { file, done })),
            // It went since it was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the handle, which is open as long as the device lives.
    #[must_use]
    pub fn raw(&self) -> HANDLE {
        self.file.as_raw_handle()
    }

    /// Sends a control code and waits for its end. It is cancelled when one of the `interrupts` is set, or the time is
    /// over; without a limit the time is never over.
    ///
    /// # Errors
    /// The answer of Windows; [`io::ErrorKind::Unsupported`] where the driver does not know the code.
    pub fn control(
        &self,
        code: u32,
        input: &[u8],
        output: &mut [u8],
        limit: Option<Duration>,
        interrupts: &[&Event],
    ) -> io::Result<Ended> {
        let mut overlapped = OVERLAPPED { hEvent: self.done.raw(), ..OVERLAPPED::default() };
        let (input_length, output_length) = (input.len() as u32, output.len() as u32);
        // SAFETY: the file is open; the buffers have their lengths, and live with the structure until the request has
        // ended, which is waited for below.
        let begun = unsafe {
            DeviceIoControl(
                self.raw(),
                code,
                input.as_ptr().cast(),
                input_length,
                output.as_mut_ptr().cast(),
                output_length,
                ptr::null_mut(),
                &raw mut overlapped,
            )
        };
        if begun == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                return Err(told(error));
            }
        }
        let handles: Vec<_> =
            [&self.done].into_iter().chain(interrupts.iter().copied()).map(Event::raw).collect();
        let limit = limit.map_or(INFINITE, milliseconds);
        // SAFETY: the handles are open, and as many as is said.
        let waited = unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, limit) };
        if waited != WAIT_OBJECT_0 {
            // SAFETY: the file is open; its requests are all this thread's. It fails where none is under way any more.
            unsafe { CancelIo(self.raw()) };
        }
        let mut bytes = 0;
        // SAFETY: the structure is that of the request above, and the place lives until the call returns.
        if unsafe { GetOverlappedResult(self.raw(), &raw const overlapped, &raw mut bytes, 1) } != 0 {
            // Also where it was answered while it was cancelled: nothing is lost, and a signal stays.
            return Ok(Ended::Answered(bytes as usize));
        }
        let error = io::Error::last_os_error();
        let was_cancelled = error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed());
        match waited.wrapping_sub(WAIT_OBJECT_0) as usize {
            0 => Err(told(error)),
            place if was_cancelled && place <= interrupts.len() => Ok(Ended::Interrupted(place - 1)),
            _ if was_cancelled => Ok(Ended::Late),
            _ => Err(told(error)),
        }
    }

    /// Sends a control code whose answer waits for nothing, and returns the answer.
    ///
    /// # Errors
    /// The errors of [`Device::control`], an answer of another length, and [`io::ErrorKind::TimedOut`] where none came in
    /// time or before an interrupt.
    pub fn ask<const N: usize>(&self, code: u32, input: &[u8], interrupts: &[&Event]) -> io::Result<[u8; N]> {
        let mut answer = [0; N];
        match self.control(code, input, &mut answer, Some(ANSWER), interrupts)? {
            Ended::Answered(bytes) if bytes == N => Ok(answer),
            Ended::Answered(bytes) => Err(io::Error::other(format!("an answer of {bytes} bytes, not {N}"))),
            Ended::Interrupted(_) | Ended::Late => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Channel for Device {
    fn record(&mut self) -> io::Result<[u8; record::SIZE]> {
        self.ask(GET_RECORD, &[], &[])
    }

    fn line(&mut self, from: u64, limit: Option<Duration>) -> io::Result<Option<LogLine>> {
        let mut answer = [0; LogLine::BYTES];
        match self.control(GET_LINE, &from.to_le_bytes(), &mut answer, limit, &[])? {
            Ended::Answered(LogLine::BYTES) => Ok(Some(LogLine::from_bytes(&answer))),
            Ended::Answered(bytes) => Err(io::Error::other(format!("a line of {bytes} bytes"))),
            Ended::Interrupted(_) | Ended::Late => Ok(None),
        }
    }
}

/// Returns an error with the kind that says that the driver does not know a code, where it is that.
fn told(error: io::Error) -> io::Error {
    // STATUS_INVALID_DEVICE_REQUEST.
    if error.raw_os_error() == Some(ERROR_INVALID_FUNCTION.cast_signed()) {
        return io::Error::new(io::ErrorKind::Unsupported, error);
    }
    error
}

/// A list of devices.
struct Devices(HDEVINFO);

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: the list is open, and not used after this.
        unsafe { SetupDiDestroyDeviceInfoList(self.0) };
    }
}

/// `SP_DEVICE_INTERFACE_DETAIL_DATA_W` with room for a path, which begins right behind the size.
#[repr(C)]
struct Detail {
    /// Bytes of the structure of that name, with the padding of its end.
    size: u32,
    path: [u16; PATH],
}

const _: () = assert!(offset_of!(Detail, path) == offset_of!(SP_DEVICE_INTERFACE_DETAIL_DATA_W, DevicePath));

/// Returns the path of the first device that offers the channel.
///
/// # Errors
/// The answer of Windows.
fn find() -> io::Result<Option<PathBuf>> {
    let class = GUID::from_u128(INTERFACE);
    let flags = DIGCF_PRESENT | DIGCF_DEVICEINTERFACE;
    // SAFETY: the class lives until the call returns; no enumerator and no window.
    let list = unsafe { SetupDiGetClassDevsW(&raw const class, ptr::null(), ptr::null_mut(), flags) };
    // INVALID_HANDLE_VALUE.
    if list == -1 {
        return Err(io::Error::last_os_error());
    }
    let list = Devices(list);
    let mut interface = SP_DEVICE_INTERFACE_DATA {
        cbSize: size_of::<SP_DEVICE_INTERFACE_DATA>() as u32,
        ..SP_DEVICE_INTERFACE_DATA::default()
    };
    // SAFETY: the list is open; class and place live until the call returns, and the place says its size.
    let found =
        unsafe { SetupDiEnumDeviceInterfaces(list.0, ptr::null(), &raw const class, 0, &raw mut interface) };
    if found == 0 {
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(ERROR_NO_MORE_ITEMS.cast_signed()) => Ok(None),
            error => Err(error),
        };
    }
    let size = size_of::<SP_DEVICE_INTERFACE_DETAIL_DATA_W>() as u32;
    let mut detail = Detail { size, path: [0; PATH] };
    // SAFETY: the list is open; the place has the size that is said, in front of which its head says its own.
    let told = unsafe {
        SetupDiGetDeviceInterfaceDetailW(
            list.0,
            &raw const interface,
            (&raw mut detail).cast(),
            size_of::<Detail>() as u32,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    let length = detail.path.iter().position(|&unit| unit == 0).unwrap_or(PATH);
    Ok(Some(PathBuf::from(OsString::from_wide(&detail.path[..length]))))
}
