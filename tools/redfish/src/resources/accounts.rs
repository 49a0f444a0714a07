//! `AccountService`: accounts and roles, as the file has them.

use super::{demand, missing};
use crate::config::Account;
use crate::http::{self, Answer, Reply, link};
use crate::passwords::User;
use crate::roles::{Privilege, Role};
use crate::service::Service;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";
const ROLES: &str = "/redfish/v1/AccountService/Roles";

/// The service.
pub(crate) async fn service() -> Answer {
    Answer::read_only(json!({
        "@odata.id": "/redfish/v1/AccountService",
        "@odata.type": "#AccountService.v1_13_0.AccountService",
        "Id": "AccountService",
        "Name": "Accounts",
        "Description": "Accounts of /etc/cellvisor/redfish.toml, which are changed there",
        "ServiceEnabled": true,
        "Status": { "State": "Enabled", "Health": "OK" },
        "Accounts": link(ACCOUNTS),
        "Roles": link(ROLES),
    }))
}

/// All accounts.
pub(crate) async fn collection(State(service): State<Arc<Service>>) -> Answer {
    let accounts = service.passwords.accounts().iter();
    let members = accounts.map(|account| format!("{ACCOUNTS}/{}", account.name));
    let kind = "ManagerAccountCollection";
    Answer::read_only(http::collection(
        kind,
        ACCOUNTS,
        "Accounts",
        members.collect(),
    ))
}

/// One account: one's own, or an administrator asks.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    if user.as_ref().is_none_or(|user| user.name != name) {
        demand(user.as_ref(), Privilege::ConfigureUsers)?;
    }
    let mut accounts = service.passwords.accounts().iter();
    let account = accounts.find(|account| account.name == name);
    account
        .map(|account| Answer::read_only(resource(account)))
        .ok_or_else(|| missing(&uri))
}

fn resource(account: &Account) -> Value {
    let role = format!("{ROLES}/{}", account.role.name());
    json!({
        "@odata.id": format!("{ACCOUNTS}/{}", account.name),
        "@odata.type": "#ManagerAccount.v1_10_0.ManagerAccount",
        "Id": account.name,
        "Name": account.name,
        "UserName": account.name,
        "Password": null,
        "RoleId": account.role.name(),
        "AccountTypes": ["Redfish"],
        "Enabled": true,
        "Locked": false,
        "Links": { "Role": link(role) },
    })
}

/// All roles.
pub(crate) async fn roles() -> Answer {
    let members = Role::ALL.map(|role| format!("{ROLES}/{}", role.name()));
    let all = http::collection("RoleCollection", ROLES, "Roles", members.to_vec());
    Answer::read_only(all)
}

/// One role.
pub(crate) async fn role(Path(id): Path<String>, uri: Uri) -> Reply {
    let role = Role::ALL.into_iter().find(|role| role.name() == id);
    let role = role.ok_or_else(|| missing(&uri))?;
    let privileges: Vec<_> = role.privileges().iter().map(|p| p.name()).collect();
    Ok(Answer::read_only(json!({
        "@odata.id": uri.path(),
        "@odata.type": "#Role.v1_3_1.Role",
        "Id": id,
        "Name": id,
        "RoleId": id,
        "IsPredefined": true,
        "AssignedPrivileges": privileges,
    })))
}
