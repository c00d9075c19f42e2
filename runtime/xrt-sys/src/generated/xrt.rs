// Generated from XRT's headers by `cargo xtask bindgen-xrt`; do not edit.
#[derive(PartialEq, Eq, Copy, Clone, Debug, Hash)]
#[repr(C, align(8))]
pub struct __BindgenOpaqueArray8<T>(pub T);
impl<T: Copy + Default, const N: usize> Default for __BindgenOpaqueArray8<[T; N]> {
    fn default() -> Self {
        Self([<T as Default>::default(); N])
    }
}
pub const XCL_BO_FLAGS_NONE: u32 = 0;
pub type uuid_t = [::std::os::raw::c_uchar; 16usize];
pub type xuid_t = uuid_t;
#[repr(C)]
#[repr(align(8))]
#[derive(Debug, Copy, Clone)]
pub struct axlf {
    pub _bindgen_opaque_blob: __BindgenOpaqueArray8<[u8; 496usize]>,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of axlf"][::std::mem::size_of::<axlf>() - 496usize];
    ["Alignment of axlf"][::std::mem::align_of::<axlf>() - 8usize];
};
pub type xclDeviceHandle = *mut ::std::os::raw::c_void;
pub type xclBufferHandle = ::std::os::raw::c_uint;
pub type xclBufferExportHandle = i32;
pub const XCL_BO_SYNC_BO_TO_DEVICE: xclBOSyncDirection = 0;
pub const XCL_BO_SYNC_BO_FROM_DEVICE: xclBOSyncDirection = 1;
pub const XCL_BO_SYNC_BO_GMIO_TO_AIE: xclBOSyncDirection = 2;
pub const XCL_BO_SYNC_BO_AIE_TO_GMIO: xclBOSyncDirection = 3;
pub type xclBOSyncDirection = ::std::os::raw::c_uint;
pub type xrtDeviceHandle = *mut ::std::os::raw::c_void;
pub type xrtBufferHandle = *mut ::std::os::raw::c_void;
pub type xrtBufferFlags = u64;
pub type xrtMemoryGroup = u32;
pub type xrtXclbinHandle = *mut ::std::os::raw::c_void;
pub const ERT_CMD_STATE_NEW: ert_cmd_state = 1;
pub const ERT_CMD_STATE_QUEUED: ert_cmd_state = 2;
pub const ERT_CMD_STATE_RUNNING: ert_cmd_state = 3;
pub const ERT_CMD_STATE_COMPLETED: ert_cmd_state = 4;
pub const ERT_CMD_STATE_ERROR: ert_cmd_state = 5;
pub const ERT_CMD_STATE_ABORT: ert_cmd_state = 6;
pub const ERT_CMD_STATE_SUBMITTED: ert_cmd_state = 7;
pub const ERT_CMD_STATE_TIMEOUT: ert_cmd_state = 8;
pub const ERT_CMD_STATE_NORESPONSE: ert_cmd_state = 9;
pub const ERT_CMD_STATE_SKERROR: ert_cmd_state = 10;
pub const ERT_CMD_STATE_SKCRASHED: ert_cmd_state = 11;
pub const ERT_CMD_STATE_MAX: ert_cmd_state = 12;
pub type ert_cmd_state = ::std::os::raw::c_uint;
pub type xrtKernelHandle = *mut ::std::os::raw::c_void;
pub type xrtRunHandle = *mut ::std::os::raw::c_void;
pub struct Xrt {
    __library: ::libloading::Library,
    pub xrtBOAllocUserPtr: unsafe extern "C" fn(
        dhdl: xrtDeviceHandle,
        userptr: *mut ::std::os::raw::c_void,
        size: usize,
        flags: xrtBufferFlags,
        grp: xrtMemoryGroup,
    ) -> xrtBufferHandle,
    pub xrtBOAlloc: unsafe extern "C" fn(
        dhdl: xrtDeviceHandle,
        size: usize,
        flags: xrtBufferFlags,
        grp: xrtMemoryGroup,
    ) -> xrtBufferHandle,
    pub xrtBOImport:
        unsafe extern "C" fn(dhdl: xrtDeviceHandle, ehdl: xclBufferExportHandle) -> xrtBufferHandle,
    pub xrtBOExport: unsafe extern "C" fn(bhdl: xrtBufferHandle) -> xclBufferExportHandle,
    pub xrtBOSubAlloc:
        unsafe extern "C" fn(parent: xrtBufferHandle, size: usize, offset: usize) -> xrtBufferHandle,
    pub xrtBOFree: unsafe extern "C" fn(bhdl: xrtBufferHandle) -> ::std::os::raw::c_int,
    pub xrtBOSize: unsafe extern "C" fn(bhdl: xrtBufferHandle) -> usize,
    pub xrtBOAddress: unsafe extern "C" fn(bhdl: xrtBufferHandle) -> u64,
    pub xrtBOSync: unsafe extern "C" fn(
        bhdl: xrtBufferHandle,
        dir: xclBOSyncDirection,
        size: usize,
        offset: usize,
    ) -> ::std::os::raw::c_int,
    pub xrtBOMap: unsafe extern "C" fn(bhdl: xrtBufferHandle) -> *mut ::std::os::raw::c_void,
    pub xrtBOWrite: unsafe extern "C" fn(
        bhdl: xrtBufferHandle,
        src: *const ::std::os::raw::c_void,
        size: usize,
        seek: usize,
    ) -> ::std::os::raw::c_int,
    pub xrtBORead: unsafe extern "C" fn(
        bhdl: xrtBufferHandle,
        dst: *mut ::std::os::raw::c_void,
        size: usize,
        skip: usize,
    ) -> ::std::os::raw::c_int,
    pub xrtBOCopy: unsafe extern "C" fn(
        dst: xrtBufferHandle,
        src: xrtBufferHandle,
        sz: usize,
        dst_offset: usize,
        src_offset: usize,
    ) -> ::std::os::raw::c_int,
    pub xrtXclbinAllocFilename:
        unsafe extern "C" fn(filename: *const ::std::os::raw::c_char) -> xrtXclbinHandle,
    pub xrtXclbinAllocRawData: unsafe extern "C" fn(
        data: *const ::std::os::raw::c_char,
        size: ::std::os::raw::c_int,
    ) -> xrtXclbinHandle,
    pub xrtXclbinFreeHandle: unsafe extern "C" fn(xhdl: xrtXclbinHandle) -> ::std::os::raw::c_int,
    pub xrtXclbinGetXSAName: unsafe extern "C" fn(
        xhdl: xrtXclbinHandle,
        name: *mut ::std::os::raw::c_char,
        size: ::std::os::raw::c_int,
        ret_size: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int,
    pub xrtXclbinGetUUID: unsafe extern "C" fn(
        xhdl: xrtXclbinHandle,
        ret_uuid: *mut ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int,
    pub xrtXclbinGetNumKernels: unsafe extern "C" fn(xhdl: xrtXclbinHandle) -> usize,
    pub xrtXclbinGetNumKernelComputeUnits: unsafe extern "C" fn(xhdl: xrtXclbinHandle) -> usize,
    pub xrtDeviceOpen: unsafe extern "C" fn(index: ::std::os::raw::c_uint) -> xrtDeviceHandle,
    pub xrtDeviceOpenByBDF: unsafe extern "C" fn(bdf: *const ::std::os::raw::c_char) -> xrtDeviceHandle,
    pub xrtDeviceClose: unsafe extern "C" fn(dhdl: xrtDeviceHandle) -> ::std::os::raw::c_int,
    pub xrtDeviceLoadXclbin:
        unsafe extern "C" fn(dhdl: xrtDeviceHandle, xclbin: *const axlf) -> ::std::os::raw::c_int,
    pub xrtDeviceLoadXclbinFile: unsafe extern "C" fn(
        dhdl: xrtDeviceHandle,
        xclbin_fnm: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int,
    pub xrtDeviceLoadXclbinHandle:
        unsafe extern "C" fn(dhdl: xrtDeviceHandle, xhdl: xrtXclbinHandle) -> ::std::os::raw::c_int,
    pub xrtDeviceLoadXclbinUUID: unsafe extern "C" fn(
        dhdl: xrtDeviceHandle,
        uuid: *const ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int,
    pub xrtDeviceGetXclbinUUID: unsafe extern "C" fn(
        dhdl: xrtDeviceHandle,
        out: *mut ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int,
    pub xrtPLKernelOpen: unsafe extern "C" fn(
        deviceHandle: xrtDeviceHandle,
        xclbinId: *const ::std::os::raw::c_uchar,
        name: *const ::std::os::raw::c_char,
    ) -> xrtKernelHandle,
    pub xrtPLKernelOpenExclusive: unsafe extern "C" fn(
        deviceHandle: xrtDeviceHandle,
        xclbinId: *const ::std::os::raw::c_uchar,
        name: *const ::std::os::raw::c_char,
    ) -> xrtKernelHandle,
    pub xrtKernelClose: unsafe extern "C" fn(kernelHandle: xrtKernelHandle) -> ::std::os::raw::c_int,
    pub xrtKernelArgGroupId: unsafe extern "C" fn(
        kernelHandle: xrtKernelHandle,
        argno: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int,
    pub xrtKernelArgOffset: unsafe extern "C" fn(khdl: xrtKernelHandle, argno: ::std::os::raw::c_int) -> u32,
    pub xrtKernelReadRegister: unsafe extern "C" fn(
        kernelHandle: xrtKernelHandle,
        offset: u32,
        datap: *mut u32,
    ) -> ::std::os::raw::c_int,
    pub xrtKernelWriteRegister:
        unsafe extern "C" fn(kernelHandle: xrtKernelHandle, offset: u32, data: u32) -> ::std::os::raw::c_int,
    pub xrtRunOpen: unsafe extern "C" fn(kernelHandle: xrtKernelHandle) -> xrtRunHandle,
    pub xrtRunSetArg:
        unsafe extern "C" fn(rhdl: xrtRunHandle, index: ::std::os::raw::c_int, ...) -> ::std::os::raw::c_int,
    pub xrtRunUpdateArg:
        unsafe extern "C" fn(rhdl: xrtRunHandle, index: ::std::os::raw::c_int, ...) -> ::std::os::raw::c_int,
    pub xrtRunStart: unsafe extern "C" fn(rhdl: xrtRunHandle) -> ::std::os::raw::c_int,
    pub xrtRunWait: unsafe extern "C" fn(rhdl: xrtRunHandle) -> ert_cmd_state,
    pub xrtRunWaitFor:
        unsafe extern "C" fn(rhdl: xrtRunHandle, timeout_ms: ::std::os::raw::c_uint) -> ert_cmd_state,
    pub xrtRunState: unsafe extern "C" fn(rhdl: xrtRunHandle) -> ert_cmd_state,
    pub xrtRunSetCallback: unsafe extern "C" fn(
        rhdl: xrtRunHandle,
        state: ert_cmd_state,
        callback: ::std::option::Option<
            unsafe extern "C" fn(arg1: xrtRunHandle, arg2: ert_cmd_state, arg3: *mut ::std::os::raw::c_void),
        >,
        data: *mut ::std::os::raw::c_void,
    ) -> ::std::os::raw::c_int,
    pub xrtRunClose: unsafe extern "C" fn(rhdl: xrtRunHandle) -> ::std::os::raw::c_int,
    pub xrtIniStringSet: unsafe extern "C" fn(
        key: *const ::std::os::raw::c_char,
        value: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int,
    pub xrtIniUintSet: unsafe extern "C" fn(
        key: *const ::std::os::raw::c_char,
        value: ::std::os::raw::c_uint,
    ) -> ::std::os::raw::c_int,
}
impl Xrt {
    pub unsafe fn new<P>(path: P) -> Result<Self, ::libloading::Error>
    where
        P: AsRef<::std::ffi::OsStr>,
    {
        let path = path.as_ref();
        let library = ::libloading::Library::new(path)?;
        Self::from_library(library)
    }
    pub unsafe fn from_library<L>(library: L) -> Result<Self, ::libloading::Error>
    where
        L: Into<::libloading::Library>,
    {
        let __library = library.into();
        let xrtBOAllocUserPtr = __library.get(b"xrtBOAllocUserPtr\0").map(|sym| *sym)?;
        let xrtBOAlloc = __library.get(b"xrtBOAlloc\0").map(|sym| *sym)?;
        let xrtBOImport = __library.get(b"xrtBOImport\0").map(|sym| *sym)?;
        let xrtBOExport = __library.get(b"xrtBOExport\0").map(|sym| *sym)?;
        let xrtBOSubAlloc = __library.get(b"xrtBOSubAlloc\0").map(|sym| *sym)?;
        let xrtBOFree = __library.get(b"xrtBOFree\0").map(|sym| *sym)?;
        let xrtBOSize = __library.get(b"xrtBOSize\0").map(|sym| *sym)?;
        let xrtBOAddress = __library.get(b"xrtBOAddress\0").map(|sym| *sym)?;
        let xrtBOSync = __library.get(b"xrtBOSync\0").map(|sym| *sym)?;
        let xrtBOMap = __library.get(b"xrtBOMap\0").map(|sym| *sym)?;
        let xrtBOWrite = __library.get(b"xrtBOWrite\0").map(|sym| *sym)?;
        let xrtBORead = __library.get(b"xrtBORead\0").map(|sym| *sym)?;
        let xrtBOCopy = __library.get(b"xrtBOCopy\0").map(|sym| *sym)?;
        let xrtXclbinAllocFilename = __library.get(b"xrtXclbinAllocFilename\0").map(|sym| *sym)?;
        let xrtXclbinAllocRawData = __library.get(b"xrtXclbinAllocRawData\0").map(|sym| *sym)?;
        let xrtXclbinFreeHandle = __library.get(b"xrtXclbinFreeHandle\0").map(|sym| *sym)?;
        let xrtXclbinGetXSAName = __library.get(b"xrtXclbinGetXSAName\0").map(|sym| *sym)?;
        let xrtXclbinGetUUID = __library.get(b"xrtXclbinGetUUID\0").map(|sym| *sym)?;
        let xrtXclbinGetNumKernels = __library.get(b"xrtXclbinGetNumKernels\0").map(|sym| *sym)?;
        let xrtXclbinGetNumKernelComputeUnits =
            __library.get(b"xrtXclbinGetNumKernelComputeUnits\0").map(|sym| *sym)?;
        let xrtDeviceOpen = __library.get(b"xrtDeviceOpen\0").map(|sym| *sym)?;
        let xrtDeviceOpenByBDF = __library.get(b"xrtDeviceOpenByBDF\0").map(|sym| *sym)?;
        let xrtDeviceClose = __library.get(b"xrtDeviceClose\0").map(|sym| *sym)?;
        let xrtDeviceLoadXclbin = __library.get(b"xrtDeviceLoadXclbin\0").map(|sym| *sym)?;
        let xrtDeviceLoadXclbinFile = __library.get(b"xrtDeviceLoadXclbinFile\0").map(|sym| *sym)?;
        let xrtDeviceLoadXclbinHandle = __library.get(b"xrtDeviceLoadXclbinHandle\0").map(|sym| *sym)?;
        let xrtDeviceLoadXclbinUUID = __library.get(b"xrtDeviceLoadXclbinUUID\0").map(|sym| *sym)?;
        let xrtDeviceGetXclbinUUID = __library.get(b"xrtDeviceGetXclbinUUID\0").map(|sym| *sym)?;
        let xrtPLKernelOpen = __library.get(b"xrtPLKernelOpen\0").map(|sym| *sym)?;
        let xrtPLKernelOpenExclusive = __library.get(b"xrtPLKernelOpenExclusive\0").map(|sym| *sym)?;
        let xrtKernelClose = __library.get(b"xrtKernelClose\0").map(|sym| *sym)?;
        let xrtKernelArgGroupId = __library.get(b"xrtKernelArgGroupId\0").map(|sym| *sym)?;
        let xrtKernelArgOffset = __library.get(b"xrtKernelArgOffset\0").map(|sym| *sym)?;
        let xrtKernelReadRegister = __library.get(b"xrtKernelReadRegister\0").map(|sym| *sym)?;
        let xrtKernelWriteRegister = __library.get(b"xrtKernelWriteRegister\0").map(|sym| *sym)?;
        let xrtRunOpen = __library.get(b"xrtRunOpen\0").map(|sym| *sym)?;
        let xrtRunSetArg = __library.get(b"xrtRunSetArg\0").map(|sym| *sym)?;
        let xrtRunUpdateArg = __library.get(b"xrtRunUpdateArg\0").map(|sym| *sym)?;
        let xrtRunStart = __library.get(b"xrtRunStart\0").map(|sym| *sym)?;
        let xrtRunWait = __library.get(b"xrtRunWait\0").map(|sym| *sym)?;
        let xrtRunWaitFor = __library.get(b"xrtRunWaitFor\0").map(|sym| *sym)?;
        let xrtRunState = __library.get(b"xrtRunState\0").map(|sym| *sym)?;
        let xrtRunSetCallback = __library.get(b"xrtRunSetCallback\0").map(|sym| *sym)?;
        let xrtRunClose = __library.get(b"xrtRunClose\0").map(|sym| *sym)?;
        let xrtIniStringSet = __library.get(b"xrtIniStringSet\0").map(|sym| *sym)?;
        let xrtIniUintSet = __library.get(b"xrtIniUintSet\0").map(|sym| *sym)?;
        Ok(Xrt {
            __library,
            xrtBOAllocUserPtr,
            xrtBOAlloc,
            xrtBOImport,
            xrtBOExport,
            xrtBOSubAlloc,
            xrtBOFree,
            xrtBOSize,
            xrtBOAddress,
            xrtBOSync,
            xrtBOMap,
            xrtBOWrite,
            xrtBORead,
            xrtBOCopy,
            xrtXclbinAllocFilename,
            xrtXclbinAllocRawData,
            xrtXclbinFreeHandle,
            xrtXclbinGetXSAName,
            xrtXclbinGetUUID,
            xrtXclbinGetNumKernels,
            xrtXclbinGetNumKernelComputeUnits,
            xrtDeviceOpen,
            xrtDeviceOpenByBDF,
            xrtDeviceClose,
            xrtDeviceLoadXclbin,
            xrtDeviceLoadXclbinFile,
            xrtDeviceLoadXclbinHandle,
            xrtDeviceLoadXclbinUUID,
            xrtDeviceGetXclbinUUID,
            xrtPLKernelOpen,
            xrtPLKernelOpenExclusive,
            xrtKernelClose,
            xrtKernelArgGroupId,
            xrtKernelArgOffset,
            xrtKernelReadRegister,
            xrtKernelWriteRegister,
            xrtRunOpen,
            xrtRunSetArg,
            xrtRunUpdateArg,
            xrtRunStart,
            xrtRunWait,
            xrtRunWaitFor,
            xrtRunState,
            xrtRunSetCallback,
            xrtRunClose,
            xrtIniStringSet,
            xrtIniUintSet,
        })
    }
    pub unsafe fn xrtBOAllocUserPtr(
        &self,
        dhdl: xrtDeviceHandle,
        userptr: *mut ::std::os::raw::c_void,
        size: usize,
        flags: xrtBufferFlags,
        grp: xrtMemoryGroup,
    ) -> xrtBufferHandle {
        (self.xrtBOAllocUserPtr)(dhdl, userptr, size, flags, grp)
    }
    pub unsafe fn xrtBOAlloc(
        &self,
        dhdl: xrtDeviceHandle,
        size: usize,
        flags: xrtBufferFlags,
        grp: xrtMemoryGroup,
    ) -> xrtBufferHandle {
        (self.xrtBOAlloc)(dhdl, size, flags, grp)
    }
    pub unsafe fn xrtBOImport(&self, dhdl: xrtDeviceHandle, ehdl: xclBufferExportHandle) -> xrtBufferHandle {
        (self.xrtBOImport)(dhdl, ehdl)
    }
    pub unsafe fn xrtBOExport(&self, bhdl: xrtBufferHandle) -> xclBufferExportHandle {
        (self.xrtBOExport)(bhdl)
    }
    pub unsafe fn xrtBOSubAlloc(
        &self,
        parent: xrtBufferHandle,
        size: usize,
        offset: usize,
    ) -> xrtBufferHandle {
        (self.xrtBOSubAlloc)(parent, size, offset)
    }
    pub unsafe fn xrtBOFree(&self, bhdl: xrtBufferHandle) -> ::std::os::raw::c_int {
        (self.xrtBOFree)(bhdl)
    }
    pub unsafe fn xrtBOSize(&self, bhdl: xrtBufferHandle) -> usize {
        (self.xrtBOSize)(bhdl)
    }
    pub unsafe fn xrtBOAddress(&self, bhdl: xrtBufferHandle) -> u64 {
        (self.xrtBOAddress)(bhdl)
    }
    pub unsafe fn xrtBOSync(
        &self,
        bhdl: xrtBufferHandle,
        dir: xclBOSyncDirection,
        size: usize,
        offset: usize,
    ) -> ::std::os::raw::c_int {
        (self.xrtBOSync)(bhdl, dir, size, offset)
    }
    pub unsafe fn xrtBOMap(&self, bhdl: xrtBufferHandle) -> *mut ::std::os::raw::c_void {
        (self.xrtBOMap)(bhdl)
    }
    pub unsafe fn xrtBOWrite(
        &self,
        bhdl: xrtBufferHandle,
        src: *const ::std::os::raw::c_void,
        size: usize,
        seek: usize,
    ) -> ::std::os::raw::c_int {
        (self.xrtBOWrite)(bhdl, src, size, seek)
    }
    pub unsafe fn xrtBORead(
        &self,
        bhdl: xrtBufferHandle,
        dst: *mut ::std::os::raw::c_void,
        size: usize,
        skip: usize,
    ) -> ::std::os::raw::c_int {
        (self.xrtBORead)(bhdl, dst, size, skip)
    }
    pub unsafe fn xrtBOCopy(
        &self,
        dst: xrtBufferHandle,
        src: xrtBufferHandle,
        sz: usize,
        dst_offset: usize,
        src_offset: usize,
    ) -> ::std::os::raw::c_int {
        (self.xrtBOCopy)(dst, src, sz, dst_offset, src_offset)
    }
    pub unsafe fn xrtXclbinAllocFilename(&self, filename: *const ::std::os::raw::c_char) -> xrtXclbinHandle {
        (self.xrtXclbinAllocFilename)(filename)
    }
    pub unsafe fn xrtXclbinAllocRawData(
        &self,
        data: *const ::std::os::raw::c_char,
        size: ::std::os::raw::c_int,
    ) -> xrtXclbinHandle {
        (self.xrtXclbinAllocRawData)(data, size)
    }
    pub unsafe fn xrtXclbinFreeHandle(&self, xhdl: xrtXclbinHandle) -> ::std::os::raw::c_int {
        (self.xrtXclbinFreeHandle)(xhdl)
    }
    pub unsafe fn xrtXclbinGetXSAName(
        &self,
        xhdl: xrtXclbinHandle,
        name: *mut ::std::os::raw::c_char,
        size: ::std::os::raw::c_int,
        ret_size: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self.xrtXclbinGetXSAName)(xhdl, name, size, ret_size)
    }
    pub unsafe fn xrtXclbinGetUUID(
        &self,
        xhdl: xrtXclbinHandle,
        ret_uuid: *mut ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int {
        (self.xrtXclbinGetUUID)(xhdl, ret_uuid)
    }
    pub unsafe fn xrtXclbinGetNumKernels(&self, xhdl: xrtXclbinHandle) -> usize {
        (self.xrtXclbinGetNumKernels)(xhdl)
    }
    pub unsafe fn xrtXclbinGetNumKernelComputeUnits(&self, xhdl: xrtXclbinHandle) -> usize {
        (self.xrtXclbinGetNumKernelComputeUnits)(xhdl)
    }
    pub unsafe fn xrtDeviceOpen(&self, index: ::std::os::raw::c_uint) -> xrtDeviceHandle {
        (self.xrtDeviceOpen)(index)
    }
    pub unsafe fn xrtDeviceOpenByBDF(&self, bdf: *const ::std::os::raw::c_char) -> xrtDeviceHandle {
        (self.xrtDeviceOpenByBDF)(bdf)
    }
    pub unsafe fn xrtDeviceClose(&self, dhdl: xrtDeviceHandle) -> ::std::os::raw::c_int {
        (self.xrtDeviceClose)(dhdl)
    }
    pub unsafe fn xrtDeviceLoadXclbin(
        &self,
        dhdl: xrtDeviceHandle,
        xclbin: *const axlf,
    ) -> ::std::os::raw::c_int {
        (self.xrtDeviceLoadXclbin)(dhdl, xclbin)
    }
    pub unsafe fn xrtDeviceLoadXclbinFile(
        &self,
        dhdl: xrtDeviceHandle,
        xclbin_fnm: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self.xrtDeviceLoadXclbinFile)(dhdl, xclbin_fnm)
    }
    pub unsafe fn xrtDeviceLoadXclbinHandle(
        &self,
        dhdl: xrtDeviceHandle,
        xhdl: xrtXclbinHandle,
    ) -> ::std::os::raw::c_int {
        (self.xrtDeviceLoadXclbinHandle)(dhdl, xhdl)
    }
    pub unsafe fn xrtDeviceLoadXclbinUUID(
        &self,
        dhdl: xrtDeviceHandle,
        uuid: *const ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int {
        (self.xrtDeviceLoadXclbinUUID)(dhdl, uuid)
    }
    pub unsafe fn xrtDeviceGetXclbinUUID(
        &self,
        dhdl: xrtDeviceHandle,
        out: *mut ::std::os::raw::c_uchar,
    ) -> ::std::os::raw::c_int {
        (self.xrtDeviceGetXclbinUUID)(dhdl, out)
    }
    pub unsafe fn xrtPLKernelOpen(
        &self,
        deviceHandle: xrtDeviceHandle,
        xclbinId: *const ::std::os::raw::c_uchar,
        name: *const ::std::os::raw::c_char,
    ) -> xrtKernelHandle {
        (self.xrtPLKernelOpen)(deviceHandle, xclbinId, name)
    }
    pub unsafe fn xrtPLKernelOpenExclusive(
        &self,
        deviceHandle: xrtDeviceHandle,
        xclbinId: *const ::std::os::raw::c_uchar,
        name: *const ::std::os::raw::c_char,
    ) -> xrtKernelHandle {
        (self.xrtPLKernelOpenExclusive)(deviceHandle, xclbinId, name)
    }
    pub unsafe fn xrtKernelClose(&self, kernelHandle: xrtKernelHandle) -> ::std::os::raw::c_int {
        (self.xrtKernelClose)(kernelHandle)
    }
    pub unsafe fn xrtKernelArgGroupId(
        &self,
        kernelHandle: xrtKernelHandle,
        argno: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self.xrtKernelArgGroupId)(kernelHandle, argno)
    }
    pub unsafe fn xrtKernelArgOffset(&self, khdl: xrtKernelHandle, argno: ::std::os::raw::c_int) -> u32 {
        (self.xrtKernelArgOffset)(khdl, argno)
    }
    pub unsafe fn xrtKernelReadRegister(
        &self,
        kernelHandle: xrtKernelHandle,
        offset: u32,
        datap: *mut u32,
    ) -> ::std::os::raw::c_int {
        (self.xrtKernelReadRegister)(kernelHandle, offset, datap)
    }
    pub unsafe fn xrtKernelWriteRegister(
        &self,
        kernelHandle: xrtKernelHandle,
        offset: u32,
        data: u32,
    ) -> ::std::os::raw::c_int {
        (self.xrtKernelWriteRegister)(kernelHandle, offset, data)
    }
    pub unsafe fn xrtRunOpen(&self, kernelHandle: xrtKernelHandle) -> xrtRunHandle {
        (self.xrtRunOpen)(kernelHandle)
    }
    pub unsafe fn xrtRunStart(&self, rhdl: xrtRunHandle) -> ::std::os::raw::c_int {
        (self.xrtRunStart)(rhdl)
    }
    pub unsafe fn xrtRunWait(&self, rhdl: xrtRunHandle) -> ert_cmd_state {
        (self.xrtRunWait)(rhdl)
    }
    pub unsafe fn xrtRunWaitFor(
        &self,
        rhdl: xrtRunHandle,
        timeout_ms: ::std::os::raw::c_uint,
    ) -> ert_cmd_state {
        (self.xrtRunWaitFor)(rhdl, timeout_ms)
    }
    pub unsafe fn xrtRunState(&self, rhdl: xrtRunHandle) -> ert_cmd_state {
        (self.xrtRunState)(rhdl)
    }
    pub unsafe fn xrtRunSetCallback(
        &self,
        rhdl: xrtRunHandle,
        state: ert_cmd_state,
        callback: ::std::option::Option<
            unsafe extern "C" fn(arg1: xrtRunHandle, arg2: ert_cmd_state, arg3: *mut ::std::os::raw::c_void),
        >,
        data: *mut ::std::os::raw::c_void,
    ) -> ::std::os::raw::c_int {
        (self.xrtRunSetCallback)(rhdl, state, callback, data)
    }
    pub unsafe fn xrtRunClose(&self, rhdl: xrtRunHandle) -> ::std::os::raw::c_int {
        (self.xrtRunClose)(rhdl)
    }
    pub unsafe fn xrtIniStringSet(
        &self,
        key: *const ::std::os::raw::c_char,
        value: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self.xrtIniStringSet)(key, value)
    }
    pub unsafe fn xrtIniUintSet(
        &self,
        key: *const ::std::os::raw::c_char,
        value: ::std::os::raw::c_uint,
    ) -> ::std::os::raw::c_int {
        (self.xrtIniUintSet)(key, value)
    }
}
