"""Changing the key of an encrypted store, encrypting a plain one, and the way back."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial

from pydantic import SecretStr

from memora import _queries
from memora.encryption import DataKey, Keyring, MasterKey, optional_key
from memora.graph_db.base import RekeyProgress
from memora.graph_db.sqlite import _seal
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, rows
from memora.graph_db.sqlite._seal import SealedTable

_KEYS = _queries.load(PACKAGE, "queries/keys.sql")
_FORGET_BEFORE = _KEYS["forget_before"]
_FORGET_PLAIN = _KEYS["forget_plain"]

_AT_ONCE = 500


class RekeyPart(SQLiteBase):
    """The caller's key wraps the store's own, so that another caller's key is one changed row.

    Only what must be encrypted anew is a pass over all rows. Each value says which key sealed it,
    so readers and writers go on meanwhile, and a pass that was killed goes on where it was.
    """

    async def rotate_key(
        self,
        new_key: str | SecretStr | None,
        *,
        reencrypt: bool = False,
        on_progress: RekeyProgress | None = None,
    ) -> int:
        key = optional_key(new_key, "new_key")
        sealer = self._sealer
        async with sealer.changing:
            if not sealer.pending and key is None and sealer.ring.current is None:
                return 0
            # To the end also when the caller is cancelled: what is stored and what is used agree.
            storing = asyncio.ensure_future(self._with_key(key, reencrypt=reencrypt))
            ring = await asyncio.shield(storing)
            done = await self._renew(ring, on_progress) if sealer.pending else 0
            await self._store.checkpoint()
        return done

    async def _renew(self, ring: Keyring, on_progress: RekeyProgress | None) -> int:
        """Encrypt anew whatever an earlier key than the last has encrypted."""
        if self._vector_db is not None:
            await self._vector_db.use_keys(ring)
        done = await self._renew_all(ring, on_progress)
        # First no trace of what was there, then the keys to it.
        await self._store.compact()
        await self._store.write(_forget_old_keys)
        self._sealer.ring = Keyring([ring.current])
        return done

    async def _with_key(self, key: MasterKey | None, *, reencrypt: bool) -> Keyring:
        """Store the caller's new key, and the data key of a pass; return all data keys."""
        sealer = self._sealer
        ring = sealer.ring
        turns = (key is None) != (ring.current is None)
        adds = turns or (reencrypt and not sealer.pending)
        if turns and not sealer.attached:
            sealer.attached = True
            await self._store.attach_guard()
        ring = await self._store.write(partial(_store_keys, ring=ring, key=key, adds=adds))
        sealer.ring = ring
        if key is not None:
            sealer.key = key
        return ring

    async def _renew_all(self, ring: Keyring, on_progress: RekeyProgress | None) -> int:
        done = 0
        for table in _seal.TABLES:
            after = 0
            while True:
                count, after = await self._store.write(
                    partial(_renew_some, ring=ring, table=table, after=after)
                )
                done += count
                if on_progress is not None and count:
                    on_progress(done)
                if count < _AT_ONCE:
                    break
        return done


def _store_keys(
    connection: sqlite3.Connection, *, ring: Keyring, key: MasterKey | None, adds: bool
) -> Keyring:
    known = [row[0] for row in _seal.read_keys(connection)]
    keys: list[DataKey | None] = [*ring]
    if not known:
        # A plain store: until the pass is through, what is not sealed is its text.
        _seal.put_plain(connection, 0)
        known = [0]
    if ring.admits_plain:
        keys = [*keys, None] if ring.current is None else [None, *keys]
    if adds:
        number = max(known) + 1
        keys.append(DataKey.random(number) if key is not None else None)
        if key is None:
            _seal.put_plain(connection, number)
    if key is not None:
        _seal.put_keys(connection, keys, key)
    return Keyring(keys)


def _renew_some(
    connection: sqlite3.Connection, *, ring: Keyring, table: SealedTable, after: int
) -> tuple[int, int]:
    """Renew some rows after this one; return how many were looked at, and the last of them."""
    found = rows(connection, _KEYS[f"read_{table.name}"], after=after, limit=_AT_ONCE)
    for row in found:
        new = _seal.renewed(ring, table, row)
        if new is not None:
            change(connection, _KEYS[f"write_{table.name}"], number=row["number"], **new)
    return len(found), found[-1]["number"] if found else after


def _forget_old_keys(connection: sqlite3.Connection) -> None:
    newest = _seal.read_keys(connection)[-1][0]
    change(connection, _FORGET_BEFORE, id=newest)
    change(connection, _FORGET_PLAIN, id=newest)
