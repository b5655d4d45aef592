//! xenpci's channel: the device interface is found, and its control codes are sent.
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

use guard::channel::{Event as News, GET_EVENT, GET_VERSION, HEARTBEAT, INTERFACE, Version};
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
            Threading::WaitForMultipleObjects,
        },
        UI::WindowsAndMessaging::{
            DBT_DEVTYP_HANDLE, DEV_BROADCAST_HANDLE, DEVICE_NOTIFY_SERVICE_HANDLE, HDEVNOTIFY,
            RegisterDeviceNotificationW, UnregisterDeviceNotification,
        },
    },
    core::GUID,
};

use super::{
    event::{Event, milliseconds},
    service::Controls,
};
use crate::run::{Channel, Next};

/// Time that the driver has for an answer that waits for nothing.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest path of a device interface, in units.
const PATH: usize = 512;
/// Largest answer.
const ROOM: usize = 64;

/// The open channel.
pub(super) struct Device {
    controls: &'static Controls,
    file: Option<File>,
    /// A request has ended.
    done: Event,
    /// Windows asks before the device goes. Without it the device stays until the service stops.
    notification: Option<Notification>,
}

/// End of a request.
enum Ended {
    /// It was answered, with so many bytes.
    Answered(usize),
    /// It was cancelled: the service is to stop.
    Stop,
    /// It was cancelled: the device is asked to go.
    Leave,
    /// It was cancelled: the time is over.
    Late,
}

impl Device {
    /// Opens the channel; `None` where no device offers it.
    ///
    /// # Errors
    /// The answer of Windows.
    pub(super) fn open(controls: &'static Controls) -> io::Result<Option<Device>> {
        let Some(path) = find()? else { return Ok(None) };
        let done = Event::new()?;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED).open(&path);
        let file = match opened {
            Ok(file) => file,
            // It went since it was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        controls.leave.clear();
        controls.left.clear();
        let notification = Notification::new(controls, file.as_raw_handle());
        Ok(Some(Device { controls, file: Some(file), done, notification }))
    }

    /// Sends a control code and waits for its end.
    fn control(&self, code: u32, input: &[u8], output: &mut [u8], limit: Duration) -> io::Result<Ended> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        let file: HANDLE = file.as_raw_handle();
        let mut overlapped = OVERLAPPED { hEvent: self.done.raw(), ..OVERLAPPED::default() };
        let (input_length, output_length) = (input.len() as u32, output.len() as u32);
        // SAFETY: the file is open; the buffers have their lengths, and live with the structure until the request has
        // ended, which is waited for below.
        let begun = unsafe {
            DeviceIoControl(
                file,
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
                return Err(error);
            }
        }
        let handles = [self.done.raw(), self.controls.stop.raw(), self.controls.leave.raw()];
        // SAFETY: the handles are open, and as many as is said.
        let waited =
            unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, milliseconds(limit)) };
        if waited != WAIT_OBJECT_0 {
            // SAFETY: the file is open; its requests are all this thread's. It fails where none is under way any more.
            unsafe { CancelIo(file) };
        }
        let mut bytes = 0;
        // SAFETY: the structure is that of the request above, and the place lives until the call returns.
        if unsafe { GetOverlappedResult(file, &raw const overlapped, &raw mut bytes, 1) } != 0 {
            // Also where it was answered while it was cancelled: nothing is lost, and a signal stays.
            return Ok(Ended::Answered(bytes as usize));
        }
        let error = io::Error::last_os_error();
        let was_cancelled = error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed());
        match waited.wrapping_sub(WAIT_OBJECT_0) {
            1 if was_cancelled => Ok(Ended::Stop),
            2 if was_cancelled => Ok(Ended::Leave),
            0 => Err(error),
            _ if was_cancelled => Ok(Ended::Late),
            _ => Err(error),
        }
    }

    /// Sends a control code whose answer waits for nothing.
    fn ask<const N: usize>(&self, code: u32, input: &[u8]) -> io::Result<[u8; N]> {
        let mut output = [0; ROOM];
        match self.control(code, input, &mut output[..N], ANSWER)? {
            Ended::Answered(bytes) if bytes == N => {
                let mut answer = [0; N];
                answer.copy_from_slice(&output[..N]);
                Ok(answer)
            }
            Ended::Answered(bytes) => Err(io::Error::other(format!("an answer of {bytes} bytes, not {N}"))),
            Ended::Stop | Ended::Leave | Ended::Late => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Channel for Device {
    fn version(&mut self) -> io::Result<Version> {
        let answer: [u8; 8] = self.ask(GET_VERSION, &[])?;
        let (words, _) = answer.as_chunks::<4>();
        Ok(Version { channel: u32::from_le_bytes(words[0]), abi: u32::from_le_bytes(words[1]) })
    }

    fn beat(&mut self, carried: u64) -> io::Result<Option<u64>> {
        match self.ask::<8>(HEARTBEAT, &carried.to_le_bytes()) {
            Ok(answer) => Ok(Some(u64::from_le_bytes(answer))),
            // STATUS_INVALID_DEVICE_REQUEST.
            Err(error) if error.raw_os_error() == Some(ERROR_INVALID_FUNCTION.cast_signed()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next(&mut self, from: u64, limit: Duration) -> Next {
        let mut output = [0; News::BYTES];
        match self.control(GET_EVENT, &from.to_le_bytes(), &mut output, limit) {
            Ok(Ended::Answered(News::BYTES)) => Next::Event(News::from_bytes(&output)),
            Ok(Ended::Answered(bytes)) => Next::Gone(format!("an event of {bytes} bytes")),
            Ok(Ended::Stop) => Next::Stop,
            Ok(Ended::Leave) => Next::Gone("its device is asked to go".to_owned()),
            Ok(Ended::Late) => Next::Nothing,
            Err(error) => Next::Gone(error.to_string()),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.file.take());
        // Whoever asks the device to go waits for this, and may be waited for by what follows.
        self.controls.left.set();
        drop(self.notification.take());
    }
}

/// A registration for what is about to happen to the device of an open file.
struct Notification(HDEVNOTIFY);

impl Notification {
    fn new(controls: &Controls, file: HANDLE) -> Option<Notification> {
        let filter = DEV_BROADCAST_HANDLE {
            dbch_size: size_of::<DEV_BROADCAST_HANDLE>() as u32,
            dbch_devicetype: DBT_DEVTYP_HANDLE,
            dbch_handle: file,
            ..DEV_BROADCAST_HANDLE::default()
        };
        // SAFETY: the recipient is this service; the filter has its size and kind, and lives until the call returns.
        let registered = unsafe {
            RegisterDeviceNotificationW(
                controls.status_handle(),
                (&raw const filter).cast(),
                DEVICE_NOTIFY_SERVICE_HANDLE,
            )
        };
        (!registered.is_null()).then_some(Notification(registered))
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        // SAFETY: registered, and not used after this.
        unsafe { UnregisterDeviceNotification(self.0) };
    }
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
