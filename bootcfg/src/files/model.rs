//! A file system in memory that can be made to fail or to stop at any operation, and that forgets, when it
//! stops, what was not flushed.

use super::{
    Attributes, Files,
    security::{SYSTEM_AND_ADMINISTRATORS, full_access},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{Error, ErrorKind, Result},
    path::{Path, PathBuf},
};

/// Fault at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this error, and what comes after it works.
    Fails(ErrorKind),
    /// Half of it is done where it has halves, and then the machine is off.
    Stops,
}

/// A file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// Content that programs read.
    pub content: Vec<u8>,
    /// Its attributes.
    pub attributes: Attributes,
    /// The content is on the disk.
    pub flushed: bool,
}

/// Returns the security descriptor of a new file, as ntfs-3g gives it: Everyone has full access.
pub(crate) fn everyone() -> Vec<u8> {
    full_access(&[(1, &[0])])
}

/// Returns the security descriptor of Windows' own files.
pub(crate) fn administrators() -> Vec<u8> {
    full_access(&SYSTEM_AND_ADMINISTRATORS)
}

/// The names of files and what is behind them.
pub(crate) type Tree = BTreeMap<PathBuf, ModelFile>;

#[derive(Debug, Default)]
struct State {
    now: Tree,
    /// The trees that a loss of power may leave: since the last flush of the folder, each name operation may
    /// have reached the disk or not.
    possible: Vec<Tree>,
    operations: usize,
    off: bool,
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Model {
    state: RefCell<State>,
    fault: Option<(usize, Fault)>,
}

impl Model {
    /// One that holds `tree`, and fails or stops at the given operation.
    pub(crate) fn new(tree: Tree, fault: Option<(usize, Fault)>) -> Model {
        let state = State { possible: vec![tree.clone()], now: tree, ..State::default() };
        Model { state: state.into(), fault }
    }

    /// Returns the number of operations that were asked for.
    pub(crate) fn operations(&self) -> usize {
        self.state.borrow().operations
    }

    /// Returns the tree that programs see now.
    pub(crate) fn tree(&self) -> Tree {
        self.state.borrow().now.clone()
    }

    /// Returns the trees that may be found after a loss of power at this moment; content that was not flushed
    /// may be empty, cut or whole.
    pub(crate) fn after_power_loss(&self) -> Vec<Tree> {
        let state = self.state.borrow();
        let mut found = Vec::new();
        for tree in state.possible.iter().chain([&state.now]) {
            for keep in [0, 1, 2] {
                let mut tree = tree.clone();
                for file in tree.values_mut().filter(|file| !state.is_flushed(file)) {
                    file.content.truncate(file.content.len() * keep / 2);
                }
                found.push(tree);
            }
        }
        found
    }

    /// Counts an operation; says whether it is the one at which the machine stops.
    fn begin(&self) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        if state.off {
            return Err(Error::other("the machine is off"));
        }
        let number = state.operations;
        state.operations += 1;
        match self.fault {
            Some((at, Fault::Fails(kind))) if at == number => Err(kind.into()),
            Some((at, Fault::Stops)) if at == number => {
                state.off = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Does an operation that either is done or is not.
    fn whole<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        if self.begin()? {
            return Err(Error::other("the machine is off"));
        }
        work(&mut self.state.borrow_mut())
    }
}

impl State {
    fn file(&mut self, path: &Path) -> Result<&mut ModelFile> {
        self.now.get_mut(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Returns true if the content has been flushed under some name.
    fn is_flushed(&self, file: &ModelFile) -> bool {
        let trees = self.possible.iter().chain([&self.now]);
        trees.flat_map(BTreeMap::values).any(|other| other.flushed && other.content == file.content)
    }

    fn names_changed(&mut self) {
        self.possible.push(self.now.clone());
    }
}

impl Files for Model {
    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        self.whole(|state| state.file(path).map(|_| path.to_owned()))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.whole(|state| Ok(state.file(path)?.content.clone()))
    }

    fn attributes(&self, path: &Path) -> Result<Attributes> {
        self.whole(|state| Ok(state.file(path)?.attributes.clone()))
    }

    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.whole(|state| {
            state.file(path)?.attributes = attributes.clone();
            state.names_changed();
            Ok(())
        })
    }

    fn create(&self, path: &Path, content: &[u8]) -> Result<()> {
        let stops = self.begin()?;
        let mut state = self.state.borrow_mut();
        if state.now.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let written = if stops { content.len() / 2 } else { content.len() };
        let attributes = Attributes { dos: Attributes::ARCHIVE, unix: None, security: Some(everyone()) };
        state.now.insert(
            path.to_owned(),
            ModelFile { content: content[..written].into(), attributes, flushed: false },
        );
        state.names_changed();
        if stops { Err(Error::other("the machine is off")) } else { Ok(()) }
    }

    fn flush(&self, path: &Path) -> Result<()> {
        self.whole(|state| {
            state.file(path)?.flushed = true;
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.whole(|state| {
            // As Windows does.
            if state.now.get(to).is_some_and(|file| file.attributes.is_read_only()) {
                return Err(ErrorKind::PermissionDenied.into());
            }
            let file = state.now.remove(from).ok_or(ErrorKind::NotFound)?;
            state.now.insert(to.to_owned(), file);
            state.names_changed();
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.whole(|state| {
            state.now.remove(path).ok_or(ErrorKind::NotFound)?;
            state.names_changed();
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        self.whole(|state| {
            Ok(state.now.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
        })
    }

    fn flush_folder(&self, _path: &Path) -> Result<()> {
        self.whole(|state| {
            state.possible = vec![state.now.clone()];
            Ok(())
        })
    }
}
