-- Takes away the views of `sealed.sql`, so that all names mean the tables.

-- name: organization
DROP VIEW IF EXISTS temp.organization;

-- name: user
DROP VIEW IF EXISTS temp.user;

-- name: agent
DROP VIEW IF EXISTS temp.agent;

-- name: interaction
DROP VIEW IF EXISTS temp.interaction;

-- name: message
DROP VIEW IF EXISTS temp.message;

-- name: memory
DROP VIEW IF EXISTS temp.memory;

-- name: memory_version
DROP VIEW IF EXISTS temp.memory_version;

-- name: entity
DROP VIEW IF EXISTS temp.entity;

-- name: idempotency
DROP VIEW IF EXISTS temp.idempotency;

-- name: import_change
DROP VIEW IF EXISTS temp.import_change;

-- name: job
DROP VIEW IF EXISTS temp.job;

-- name: outbox
DROP VIEW IF EXISTS temp.outbox;
