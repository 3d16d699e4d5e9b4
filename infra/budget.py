"""Mail when a month gets expensive: a budget of AWS Budgets; not created unless an amount and an address are set.

It tells and ends nothing, hours after the fact: the ceiling is `deadline.py`. It goes with the stack.
"""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from constructs import Construct

from contract.config import NotifyConfig

PERCENT = {"ACTUAL": (50, 80, 100), "FORECASTED": (100,)}


class Budget(Construct):
    def __init__(self, scope: Construct, id: str, *, run: str, notify: NotifyConfig) -> None:
        super().__init__(scope, id)
        reader = budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=notify.email)
        budget = budgets.CfnBudget(
            self,
            "Monthly",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=notify.monthly_budget_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:signspot:run${run}"]} if notify.budget_of_run_only else None,
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[reader],
                )
                for kind, percents in PERCENT.items()
                for percent in percents
            ],
        )
        budget.override_logical_id("MonthlyBudget")
